"""Which models to serve: `ModelServerConfig` read, checked, and turned into values.

The refusals are those of `ServerCore` (model_servers/server_core.cc of github.com/tensorflow/serving).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract import StageError
from serving.servers.tfserving.status import Status, invalid

PLATFORM = "tensorflow"
_TENSORFLOW = 1  # ModelType.TENSORFLOW


@dataclass(frozen=True)
class ModelConfig:
    """One model: where its versions lie and which of them to serve."""

    name: str
    base_path: Path
    latest: int = 1
    """How many of the newest versions; 0: all of them."""
    specific: frozenset[int] = frozenset()
    """Exactly these versions, where there are any."""
    labels: dict[str, int] = field(default_factory=dict)

    def choose(self, versions: Collection[int], failed: Collection[int] = ()) -> set[int]:
        """The versions to serve of those below the base path; one that failed is not replaced by an older one."""
        if self.specific:
            return set(self.specific & set(versions))
        return set(versions) if not self.latest else set(sorted(versions)[-self.latest :])


def read_config_file(path: Path) -> list[ModelConfig]:
    """The models of a `--model_config_file`; raises StageError for a file that is none, Status for one refused."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    try:
        return check_config(text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig()))
    except (OSError, UnicodeDecodeError) as error:
        raise StageError(f"can't read --model_config_file {path}: {error}: give a file of models") from None
    except text_format.ParseError as error:
        raise StageError(f"--model_config_file {path} is no ModelServerConfig ({error}): correct it") from None


def check_config(config: Any) -> list[ModelConfig]:
    """The models of a ModelServerConfig; raises Status for what the genuine server refuses."""
    if config.WhichOneof("config") != "model_config_list":
        supported = "Only ModelConfigList is currently supported"
        raise invalid(f"ServerModelConfig type not supported by HandleReloadConfigRequest. {supported}")
    models: dict[str, ModelConfig] = {}
    for entry in config.model_config_list.config:
        if entry.name in models:
            raise invalid(f"Illegal to list model {entry.name} multiple times in config list")
        if not entry.base_path.startswith("/") and "://" not in entry.base_path:
            expected = "to have an absolute path or URI; got base_path()="
            raise invalid(f"Expected model {entry.name} {expected}{entry.base_path}")
        _check_platform(entry)
        models[entry.name] = _read(entry)
    return list(models.values())


def _check_platform(entry: Any) -> None:
    if entry.model_type and entry.model_platform:
        both = "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform"
        raise invalid(f"{both}, model name is {entry.name}")
    platform = entry.model_platform or (PLATFORM if entry.model_type == _TENSORFLOW else "")
    if not platform:
        neither = "Illegal setting neither ModelServerConfig::model_type (deprecated) nor"
        raise invalid(f"{neither} ModelServerConfig::model_platform, model name is {entry.name}")
    if platform != PLATFORM:
        raise invalid(f"Model {entry.name} requests unsupported platform {platform}")


def _read(entry: Any) -> ModelConfig:
    policy = entry.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    latest, specific = 1, frozenset[int]()
    if choice == "all":
        latest = 0
    elif choice == "latest":
        latest = policy.latest.num_versions or 1
    elif choice == "specific":
        specific = frozenset(policy.specific.versions)
        if not specific:
            raise invalid(f"Model {entry.name} has a specific version policy without versions")
    return ModelConfig(entry.name, Path(entry.base_path), latest, specific, dict(entry.version_labels))


def label_refusal(model: str, version: int) -> Status:
    """A label for a version that isn't served."""
    where = f"version {version} of model {model}"
    return Status(
        "FAILED_PRECONDITION",
        f"Request to assign label to {where}, which is not currently available for inference",
    )
