"""ro-crate-metadata.json: what is in a folder of research, for programs (RO-Crate 1.1).

With a report it is a Workflow Run Crate 0.5: the manifest is the workflow, the run the action that executed it. Without
one it is a Workflow RO-Crate 1.0. Everything comes from the arguments: the same ones give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from repro_tui.events import Verdict
from repro_tui.manifest.models import Artifact, Manifest
from repro_tui.report import linked
from repro_tui.report.model import ImageUsed, Report

FILE_NAME = "ro-crate-metadata.json"

ROLES = ("manifest", "lock", "record", "code", "data", "weights", "image", "output", "report", "log", "other")
"""What a file can be in a crate. One has the role `manifest`; `code`, `data` and `weights` have an artifact's name."""

UNKNOWN_DATE = "1970-01-01"
"""Stands where neither the report nor the manifest says when the result was made: the form demands a date."""

_CRATE = "https://w3id.org/ro/crate/1.1"
_WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_RUN_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
}
_TERMS = "https://w3id.org/ro/terms/workflow-run#"
_LANGUAGE = "#manifest-language"
_TOOL = "#repro-tui"
_IMAGE = "#image"

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CrateFile:
    """A file of the crate: `path` relative to the crate's root with slashes, `sha256` as hex, `role` one of ROLES."""

    path: str
    sha256: str
    bytes: int
    media_type: str
    name: str
    role: str
    licence: str | None = None


def metadata(
    files: Sequence[CrateFile], manifest: Manifest, report: Report | None, *, agents: Sequence[str] | None = None
) -> bytes:
    """Return the content of ro-crate-metadata.json; raises ValueError unless one file has the role `manifest`.

    `agents` are the people who made the run: the manifest's authors, if nothing is said.
    """
    workflows = [file for file in files if file.role == "manifest"]
    if len(workflows) != 1:
        raise ValueError(f"a crate has one manifest, not {len(workflows)}")
    crate = _Crate(sorted(files, key=lambda file: file.path), manifest, report, workflows[0], agents)
    return linked.encode(
        {
            "@context": [
                f"{_CRATE}/context",
                {term: f"{_TERMS}{term}" for term in ("ContainerImage", "containerImage", "registry", "sha256")},
            ],
            "@graph": [_flat(entity) for entity in crate.entities()],
        }
    )


class _Crate:
    """Collects the entities: those that others point at are made when they are first pointed at."""

    def __init__(
        self,
        files: Sequence[CrateFile],
        manifest: Manifest,
        report: Report | None,
        workflow: CrateFile,
        agents: Sequence[str] | None,
    ) -> None:
        self.files = files
        self.manifest = manifest
        self.report = report
        self.workflow = workflow
        self.authors = manifest.experiment.authors
        self.agents = self.authors if agents is None else agents
        self._contextual: dict[str, Entity] = {}

    def entities(self) -> Iterator[Entity]:
        conforms = [_CRATE, _WORKFLOW_CRATE]
        yield {
            "@id": FILE_NAME,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [{"@id": profile} for profile in conforms],
        }
        inputs = [*self._artifacts(), *self._hyperparameters()]
        yield self._root()
        for file in self.files:
            yield self._file(file)
        yield from inputs
        if self.report is not None:
            yield self._action(self.report)
        yield from self._contextual.values()

    # --- the whole and its files --------------------------------------------------------------------------------------

    def _root(self) -> Entity:
        experiment, report = self.manifest.experiment, self.report
        description = " ".join(experiment.description.split()) or experiment.title
        profiles = {_WORKFLOW_CRATE: "Workflow RO-Crate", **(_RUN_PROFILES if report else {})}
        root: Entity = {
            "@id": "./",
            "@type": "Dataset",
            "conformsTo": [self._point(id_, _profile(id_, name)) for id_, name in profiles.items()],
            "name": experiment.title,
            "description": description,
            "datePublished": self._date(),
            "license": self._licence(experiment.licence),
            "author": [self._person(name) for name in self.authors],
            "mainEntity": {"@id": _id(self.workflow.path)},
            "hasPart": [{"@id": _id(file.path)} for file in self.files],
        }
        if paper := experiment.paper:
            facts = paper.model_dump(exclude_none=True)
            id_ = linked.paper_address(facts) or "#paper"
            work = {"@id": id_, "@type": "ScholarlyArticle", "name": paper.title, "url": id_}
            if paper.doi:
                work["identifier"] = f"https://doi.org/{paper.doi}"
            root["citation"] = self._point(id_, work)
        if report is not None:
            root["mentions"] = [{"@id": _action_id(report)}]
        return root

    def _date(self) -> str:
        said = (self.report.run.finished or self.report.run.started or "") if self.report else ""
        recorded = self.manifest.recorded.when if self.manifest.recorded else ""
        return linked.date(said) or linked.date(recorded) or UNKNOWN_DATE

    def _file(self, file: CrateFile) -> Entity:
        entity: Entity = {
            "@id": _id(file.path),
            "@type": "File",
            "name": file.name,
            "encodingFormat": file.media_type,
            "contentSize": str(file.bytes),
            "sha256": file.sha256,
        }
        if file.licence:
            entity["license"] = self._licence(file.licence)
        if file.role == "manifest":
            entity |= self._described_workflow()
        elif file.role in {"code", "data", "weights"} and self._artifact_named(file.name):
            entity["exampleOfWork"] = {"@id": _parameter_id("artifact", file.name)}
        elif file.role in {"report", "log", "record"} and self.report is not None:
            entity["about"] = {"@id": _action_id(self.report)}
        return entity

    def _described_workflow(self) -> Entity:
        version = self.report.run.version if self.report else None
        tool = {
            "@id": _TOOL,
            "@type": "SoftwareApplication",
            "name": "repro-tui",
            "description": "Reruns a published result from its manifest and says whether it came out again.",
            **({"softwareVersion": version} if version else {}),
        }
        language = {
            "@id": _LANGUAGE,
            "@type": "ComputerLanguage",
            "name": "repro-tui manifest",
            "version": str(self.manifest.schema_),
        }
        parameters = [_parameter_id("artifact", each.name) for each in self.manifest.artifacts]
        parameters += [_parameter_id("hyperparameter", name) for name in self._values()]
        return {
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
            "name": self.manifest.experiment.title,
            "version": str(self.manifest.schema_),
            "license": self._licence(self.manifest.experiment.licence),
            "author": [self._person(name) for name in self.authors],
            "programmingLanguage": self._point(_LANGUAGE, language),
            "softwareRequirements": self._point(_TOOL, tool),
            "input": [{"@id": each} for each in parameters],
        }

    # --- what went in -------------------------------------------------------------------------------------------------

    def _artifact_named(self, name: str) -> bool:
        return any(artifact.name == name for artifact in self.manifest.artifacts)

    def _files_of(self, artifact: Artifact) -> list[CrateFile]:
        return [file for file in self.files if file.role == artifact.kind and file.name == artifact.name]

    def _objects_of(self, artifact: Artifact) -> list[str]:
        return [_id(file.path) for file in self._files_of(artifact)] or [f"#pinned-{artifact.name}"]

    def _artifacts(self) -> Iterator[Entity]:
        for artifact in self.manifest.artifacts:
            objects = self._objects_of(artifact)
            files = self._files_of(artifact)
            yield {
                "@id": _parameter_id("artifact", artifact.name),
                "@type": "FormalParameter",
                "additionalType": "File" if files else "PropertyValue",
                "name": artifact.name,
                "description": f"{artifact.kind}, at /inputs/{artifact.path} in the container",
                "workExample": [{"@id": each} for each in objects],
            }
            if not files:
                yield self._pinned(artifact)

    def _pinned(self, artifact: Artifact) -> Entity:
        """Return an input that is not in the crate: what it must be, and where it may be found."""
        kind = "sha256" if artifact.sha256 else "tree_sha256"
        pin = artifact.sha256 or artifact.tree_sha256
        entity: Entity = {
            "@id": f"#pinned-{artifact.name}",
            "@type": ["CreativeWork", "PropertyValue"],
            "name": artifact.name,
            "description": "Not in this crate: pinned by its digest, and found at one of its identifiers.",
            "propertyID": kind,
            "value": pin,
            "size": f"{artifact.bytes} bytes",
            "identifier": [linked.source_address(source) for source in artifact.sources],
            "exampleOfWork": {"@id": _parameter_id("artifact", artifact.name)},
        }
        if artifact.licence:
            entity["license"] = self._licence(artifact.licence)
        return entity

    def _values(self) -> dict[str, str | int | float | bool]:
        given = {
            key: ", ".join(map(str, value)) if isinstance(value, list) else value
            for key, value in self.manifest.all_hyperparameters.items()
        }
        return {**given, "seed": self.manifest.determinism.seed}

    def _hyperparameters(self) -> Iterator[Entity]:
        for name, value in self._values().items():
            yield {
                "@id": _parameter_id("hyperparameter", name),
                "@type": "FormalParameter",
                "additionalType": _data_type(value),
                "name": name,
                "workExample": [{"@id": f"#value-{quote(name)}"}],
            }
            yield {
                "@id": f"#value-{quote(name)}",
                "@type": "PropertyValue",
                "name": name,
                "value": str(value),
                "exampleOfWork": {"@id": _parameter_id("hyperparameter", name)},
            }

    # --- the run ------------------------------------------------------------------------------------------------------

    def _action(self, report: Report) -> Entity:
        failed = report.verdict in {Verdict.FAILED, Verdict.CANCELLED}
        objects = [each for artifact in self.manifest.artifacts for each in self._objects_of(artifact)]
        objects += [f"#value-{quote(name)}" for name in self._values()]
        results = [_id(file.path) for file in self.files if file.role in {"output", "report"}]
        entity: Entity = {
            "@id": _action_id(report),
            "@type": "CreateAction",
            "name": f"Run {report.run.id}: {report.verdict.value}",
            "description": report.summary or report.verdict.value,
            "instrument": {"@id": _id(self.workflow.path)},
            "object": [{"@id": each} for each in objects],
            "result": [{"@id": each} for each in results] + [self._metric(*each) for each in _metrics(report)],
            "actionStatus": f"http://schema.org/{'Failed' if failed else 'Completed'}ActionStatus",
        }
        for key, time in (("startTime", report.run.started), ("endTime", report.run.finished)):
            if time:
                entity[key] = time.removesuffix("Z") + "+00:00" if time.endswith("Z") else time
        if self.agents:
            entity["agent"] = [self._person(name) for name in self.agents]
        if failed:
            entity["error"] = report.failure.message if report.failure else report.summary
        if report.image is not None:
            entity["containerImage"] = self._image(report.image)
        return entity

    def _metric(self, name: str, value: str) -> Entity:
        id_ = f"#metric-{quote(name, safe='')}"
        return self._point(id_, {"@id": id_, "@type": "PropertyValue", "name": name, "value": value})

    def _image(self, image: ImageUsed) -> Entity:
        name, _, _ = image.reference.partition("@")
        registry, slash, rest = name.partition("/")
        entity: Entity = {
            "@id": _IMAGE,
            "@type": "ContainerImage",
            "additionalType": self._point(f"{_TERMS}DockerImage", None),
            "name": (rest if slash else name) or self.manifest.image.recipe or self.manifest.experiment.name,
            "sha256": image.manifest_digest.removeprefix("sha256:"),
            "identifier": f"configuration {image.config_digest}",
        }
        if slash:
            entity["registry"] = registry
        return self._point(_IMAGE, entity)

    # --- pieces -------------------------------------------------------------------------------------------------------

    def _point(self, id_: str, entity: Entity | None) -> Entity:
        if entity is not None:
            self._contextual.setdefault(id_, entity)
        return {"@id": id_}

    def _person(self, name: str) -> Entity:
        id_ = f"#person-{quote(name, safe='')}"
        return self._point(id_, {"@id": id_, "@type": "Person", "name": name})

    def _licence(self, licence: str) -> Entity:
        address = linked.licence_address(licence)
        id_ = address or f"#licence-{quote(licence, safe='')}"
        known = "by its SPDX identifier" if address else "in the words of the manifest"
        return self._point(
            id_, {"@id": id_, "@type": "CreativeWork", "name": licence, "description": f"Licence, {known}: {licence}"}
        )


def _flat(entity: Entity) -> Entity:
    """Return the entity as JSON-LD is compacted: one value is no list, no value no key."""
    return {
        key: value[0] if isinstance(value, list) and len(value) == 1 else value
        for key, value in entity.items()
        if value != []
    }


def _profile(id_: str, name: str) -> Entity:
    return {"@id": id_, "@type": "CreativeWork", "name": name, "version": id_.rpartition("/")[2]}


def _id(path: str) -> str:
    return quote(path)


def _action_id(report: Report) -> str:
    return f"#run-{quote(report.run.id, safe='')}"


def _parameter_id(kind: str, name: str) -> str:
    return f"#{kind}-{quote(name, safe='')}"


def _metrics(report: Report) -> Iterator[tuple[str, str]]:
    for metric in report.metrics:
        if metric.label is None and metric.value is not None:
            yield f"{metric.place}/{metric.name}", str(metric.value)


def _data_type(value: object) -> str:
    if isinstance(value, bool):
        return "Boolean"
    return {int: "Integer", float: "Float"}.get(type(value), "Text")
