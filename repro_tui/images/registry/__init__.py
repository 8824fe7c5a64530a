"""Images in registries: the OCI distribution protocol, for pulling by digest and for pushing (docs/images.md)."""
