"""croissant.json: the data sets of a manifest with their checksums and columns, for programs (Croissant 1.0)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from repro_tui.manifest.models import (
    AptSource,
    Artifact,
    HttpsSource,
    LocalSource,
    Manifest,
    NpmSource,
    PipSource,
    RunSource,
    Source,
    Split,
    Stage,
)
from repro_tui.report import linked

FILE_NAME = "croissant.json"

_MEDIA_TYPES = {
    "tsv": "text/tab-separated-values",
    "orange-tab": "text/tab-separated-values",
    "csv": "text/csv",
    "jsonl": "application/jsonlines",
}
_OTHER = "application/octet-stream"
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The names that Croissant 1.0 has every data set declare, in the form that it gives."""

Entity = dict[str, Any]


def metadata(manifest: Manifest) -> bytes | None:
    """Return the content of croissant.json; None where the manifest has no data.

    Folders have no checksum that Croissant knows: the description names them with the manifest's own.
    """
    data = [artifact for artifact in manifest.artifacts if artifact.kind == "data"]
    if not data:
        return None
    files = [artifact for artifact in data if artifact.sha256]
    folders = [artifact for artifact in data if not artifact.sha256]
    experiment = manifest.experiment
    body: Entity = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"{experiment.name}-data",
        "description": _description(manifest, folders),
        "creator": [{"@type": "sc:Person", "name": name} for name in experiment.authors],
        "license": _licences(data) or [linked.licence_address(experiment.licence) or experiment.licence],
        "version": "1.0.0",
    }
    if manifest.recorded and (date := linked.date(manifest.recorded.when)):
        body["datePublished"] = date
    if paper := experiment.paper:
        address = linked.paper_address(paper.model_dump(exclude_none=True))
        body["url"] = address
        body["citeAs"] = f"{paper.title}. {address}"
    elif address := next((each for artifact in data if (each := _public_address(artifact))), None):
        body["url"] = address
    body["distribution"] = [each for artifact in files for each in _file(artifact, manifest)]
    record_sets = [
        each
        for stage in manifest.every_stage
        for name, split in stage.splits.items()
        for each in _record_set(name, split, stage, manifest)
    ]
    if record_sets:
        body["recordSet"] = record_sets
    return linked.encode(body)


def _description(manifest: Manifest, folders: list[Artifact]) -> str:
    words = [f"The data that the experiment “{manifest.experiment.title}” reads, pinned by checksum."]
    words += [
        f"{folder.name} is a folder of {folder.bytes} bytes with the tree digest {folder.tree_sha256}."
        for folder in folders
    ]
    for name, split in (item for stage in manifest.every_stage for item in stage.splits.items()):
        if split.part_of is not None:
            kind = "a stratified part" if split.stratified else "a part"
            words.append(f"The split {name} is {kind} of {split.part_of}: {split.fraction:g} of it, seed {split.seed}.")
    return " ".join(words)


def _licences(data: list[Artifact]) -> list[str]:
    said = dict.fromkeys(artifact.licence for artifact in data if artifact.licence)
    return [linked.licence_address(licence) or licence for licence in said]


# --- files ------------------------------------------------------------------------------------------------------------


def _file(artifact: Artifact, manifest: Manifest) -> Iterator[Entity]:
    source = _public(artifact)
    archive = _archive(source) if source else None
    entity: Entity = {
        "@type": "cr:FileObject",
        "@id": f"files/{artifact.name}",
        "name": artifact.name,
        "contentSize": f"{artifact.bytes} B",
        "encodingFormat": _media_type(artifact, manifest),
        "sha256": artifact.sha256,
    }
    if artifact.licence:
        entity["license"] = linked.licence_address(artifact.licence) or artifact.licence
    if archive is not None:
        yield archive
        entity["containedIn"] = {"@id": archive["@id"]}
        entity["contentUrl"] = getattr(source, "path", None)
    else:
        entity["contentUrl"] = linked.source_address(source or artifact.sources[0])
    yield entity


def _public(artifact: Artifact) -> Source | None:
    return next((source for source in artifact.sources if not isinstance(source, LocalSource | RunSource)), None)


def _public_address(artifact: Artifact) -> str | None:
    source = _public(artifact)
    return None if source is None else linked.source_address(source)


def _archive(source: Source) -> Entity | None:
    """Return the package or archive that a source takes its file out of, where it is one."""
    match source:
        case PipSource() | AptSource() | NpmSource() if source.path is not None:
            address, sha256 = linked.package_address(source), source.sha256
        case HttpsSource() if source.path is not None and source.sha256 is not None:
            address, sha256 = source.url, source.sha256
        case _:
            return None
    return {
        "@type": "cr:FileObject",
        "@id": f"archives/{sha256[:16]}",
        "name": address.rpartition("/")[2],
        "contentUrl": address,
        "encodingFormat": _archive_type(source),
        "sha256": sha256,
    }


def _archive_type(source: Source) -> str:
    match source:
        case PipSource():
            return "application/gzip" if source.sdist else "application/zip"
        case NpmSource():
            return "application/gzip"
        case AptSource():
            return "application/vnd.debian.binary-package"
    url = source.url if isinstance(source, HttpsSource) else ""
    return "application/zip" if url.endswith(".zip") else "application/x-tar"


def _media_type(artifact: Artifact, manifest: Manifest) -> str:
    formats = [
        split.format
        for stage in manifest.every_stage
        for split in stage.splits.values()
        if split.artifact == artifact.name
    ]
    return _MEDIA_TYPES.get(formats[0], _OTHER) if formats else _OTHER


# --- columns ----------------------------------------------------------------------------------------------------------


def _record_set(name: str, split: Split, stage: Stage, manifest: Manifest) -> Iterator[Entity]:
    """Yield the columns of a split; nothing where Croissant cannot say how its file is read."""
    if split.artifact is None or split.format == "orange-tab" or not manifest.artifact(split.artifact).sha256:
        return
    name = f"{stage.name}/{name}" if stage.name else name
    columns = {"text": split.text, "text_pair": split.text_pair, "label": split.label}
    fields = []
    for meaning, column in columns.items():
        if column is None or (stage.task.name is None and meaning not in split.model_fields_set):
            continue  # a command reads its files as it likes: only what the manifest says is known
        how = _extract(split.format, column)
        if how is None:
            return
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"splits/{name}/{meaning}",
                "name": f"{name}/{meaning}",
                "dataType": "sc:Text",
                "source": {"fileObject": {"@id": f"files/{split.artifact}"}, **how},
            }
        )
    if not fields:
        return
    cut = f" The experiment reads the first {split.first}." if split.first else ""
    count = f" of {split.examples} examples" if split.examples else ""
    yield {
        "@type": "cr:RecordSet",
        "@id": f"splits/{name}",
        "name": name,
        "description": f"The split {name}{count}.{cut}",
        "field": fields,
    }


def _extract(form: str, column: int | str) -> Entity | None:
    if isinstance(column, str):
        return {"extract": {"column": column}}
    if form != "tsv":
        return None
    return {"extract": {"fileProperty": "lines"}, "transform": {"regex": rf"^(?:[^\t]*\t){{{column}}}([^\t]*)"}}
