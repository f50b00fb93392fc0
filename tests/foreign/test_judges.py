"""deploy/ and docker-compose.yml as Kubernetes, kubectl, Compose and Grafana read them; skipped without `make judges`.

No cluster, container engine or Grafana is at hand: these are their own schemas, programs and libraries, from packages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
JUDGES = Path(os.environ.get("PERPMESH_JUDGES", ROOT / ".venv" / "judges")) / "bin"
pytestmark = pytest.mark.skipif(
    not (JUDGES / "kubectl").is_file(), reason="`make judges` was not run: nobody but us has read deploy/"
)


def ask(program: str, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(JUDGES / program), *arguments]
    return subprocess.run(command, input=said, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `kubectl apply -k` would send, with a word for every secret."""
    folder = tmp_path_factory.mktemp("kubernetes") / "k"
    shutil.copytree(ROOT / "deploy" / "kubernetes", folder, ignore=shutil.ignore_patterns("secrets"))
    for secret in yaml.safe_load((folder / "kustomization.yaml").read_text())["secretGenerator"]:
        for name in secret["files"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("a secret")
    done = ask("kubectl", "kustomize", str(folder))
    assert done.returncode == 0, done.stderr
    (folder / "rendered.yaml").write_text(done.stdout)
    return folder / "rendered.yaml"


def test_kubectl_renders_it_all_into_one_namespace_with_every_image_and_secret_named(rendered: Path) -> None:
    documents = list(yaml.safe_load_all(rendered.read_text()))
    assert {one["metadata"].get("namespace") for one in documents if one["kind"] != "Namespace"} == {"perpmesh"}
    secrets = {one["metadata"]["name"] for one in documents if one["kind"] == "Secret"}
    for pod in (one["spec"]["template"]["spec"] for one in documents if one["kind"] == "Deployment"):
        assert all(":" in one["image"] for one in (*pod["containers"], *pod.get("initContainers", ())))
        assert {one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one} <= secrets


def test_kubernetes_own_schemas_accept_every_document_and_no_unknown_field(rendered: Path) -> None:
    done = ask("kubernetes-validate", "--strict", str(rendered))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed for resource") == rendered.read_text().count("\nkind: ")
    wrong = rendered.with_name("wrong.yaml")
    wrong.write_text(rendered.read_text().replace("terminationGracePeriodSeconds", "terminationGraceSeconds", 1))
    assert ask("kubernetes-validate", "--strict", str(wrong)).returncode != 0, "the judge is awake"


READ_COMPOSE = "import sys, compose_spec; compose_spec.PyCompose.from_yaml(sys.stdin.read()).validate()"


def test_compose_is_what_its_specification_says() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    # As Compose does: variables first (its defaults, else a word), then YAML's merges.
    text = re.sub(
        r"\$\{[A-Z_]+(:?[-?])?([^}]*)\}", lambda found: found[2] if found[1] in (":-", "-") else "a-word", text
    )
    plain = json.dumps(yaml.safe_load(text))
    done = ask("python", "-c", READ_COMPOSE, said=plain)
    assert done.returncode == 0, done.stderr
    for good, bad in (('"interval": "2s"', '"interval": "often"'), ('"depends_on"', '"depends_upon"')):
        assert good in plain
        assert ask("python", "-c", READ_COMPOSE, said=plain.replace(good, bad, 1)).returncode != 0, "the judge is awake"


READ_BOARD = """
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
register_default_plugins()
print(JSONEncoder().encode(Dashboard.from_json(json.load(sys.stdin))))
"""


def test_grafanas_own_types_hold_every_field_of_the_dashboard() -> None:
    """What its types do not know is left out when they write it again."""
    text = (ROOT / "deploy" / "grafana" / "perpmesh.json").read_text()
    done = ask("python", "-c", READ_BOARD, said=text)
    assert done.returncode == 0, done.stderr
    assert lost(json.loads(text), json.loads(done.stdout)) == []
    misspelled = json.loads(text.replace('"gridPos"', '"gridPosition"', 1))
    assert lost(misspelled, json.loads(ask("python", "-c", READ_BOARD, said=json.dumps(misspelled)).stdout))


def lost(mine: object, theirs: object, path: str = "") -> list[str]:
    """Where `theirs` lacks or changes something of `mine`."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return [place for key in mine for place in lost(mine[key], theirs.get(key), f"{path}/{key}")]
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        return [place for at, one in enumerate(mine) for place in lost(one, theirs[at], f"{path}/{at}")]
    return [] if mine == theirs else [path]
