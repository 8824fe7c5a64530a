"""One module a kind of source; each brings files that the fetcher then checks against their digests."""
