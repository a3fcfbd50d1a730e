"""What people read names only what there is: paths, links, commands, calls, metrics, runbooks."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typer.main import get_command

from cryptowatch.api.routes import ROUTES
from cryptowatch.cli.commands import command_line
from cryptowatch.daemon import ROLES
from cryptowatch.signing.policy import Reason
from cryptowatch.telemetry.metrics import create_metrics

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ALERTS = ROOT / "config" / "prometheus" / "alerts.yml"
OPERATIONS = ROOT / "docs" / "operations.md"

#: Where a path in a document may begin: the repository, or the package.
BASES = (ROOT, ROOT / "cryptowatch")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.*-]*|[\w-]+\.(?:py|toml|md|lock|yml|yaml))`")
#: Named as a part of another folder, or made by somebody else.
ELSEWHERE = {"machine.py", "policy.py", "rules.py", "worker.py", "transaction.py", "sizes.py", "address.py"}
ELSEWHERE |= {
    "NNNN-title.md",
    "alerts.test.yml",
    "docker/cryptowatch.toml",
    "docker/secrets/",
    "config/chains/",
}
CODE = re.compile(r"```.*?```|`[^`]+`", re.DOTALL)
#: Not the user or the group of that name.
COMMAND = re.compile(r"(?<!-g )(?<!-u )(?<!--owner )\b(?:cw|cryptowatch) ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?")
METRIC = re.compile(r"cryptowatch_[a-z_]+[a-z]")
LINK = re.compile(r"\]\(([^)#]*)(#[^)]*)?\)")
CALL = re.compile(r"`?(GET|POST|PATCH|DELETE) +(/v1/[\w/{}-]+)")


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """What a heading can be linked as."""
    headings = re.findall(r"^#+ (.+)$", text_of(document), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def metric_names() -> set[str]:
    registry = CollectorRegistry()
    create_metrics(registry)
    names = set()
    for family in registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["", "_bucket", "_count", "_sum"]}.get(
            family.type, [""]
        )
        names |= {family.name + suffix for suffix in suffixes}
    return names


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    named = set(PATH.findall(text_of(document))) - ELSEWHERE
    missing = {path for path in named if not path.startswith("…") and not any(found(b, path) for b in BASES)}
    assert missing == set()


def found(base: Path, path: str) -> bool:
    return any(base.glob(path.rstrip("/"))) if "*" in path else (base / path).exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    for path, anchor in LINK.findall(text_of(document)):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    known: Any = get_command(command_line())
    for command, word in COMMAND.findall("\n".join(CODE.findall(text_of(document)))):
        assert command in known.commands
        inner = getattr(known.commands[command], "commands", None)
        assert not (inner and word) or word in inner, f"{command} {word}"


def test_the_runbooks_name_commands_of_every_kind() -> None:
    named = {command for command, _ in COMMAND.findall("\n".join(CODE.findall(text_of(OPERATIONS))))}
    assert {"migrate", "status", "rescan", "resume", "verify-ledger", "keys", "wallet", "events"} <= named


@pytest.mark.parametrize("document", [*DOCUMENTS, ALERTS], ids=name_of)
def test_every_metric_that_is_named_exists(document: Path) -> None:
    assert set(METRIC.findall(text_of(document))) - metric_names() == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_call_of_the_api_that_a_document_names_exists(document: Path) -> None:
    known = {(route.method, re.sub(r"{\w+}", "{}", route.path)) for route in ROUTES}
    for method, path in CALL.findall(text_of(document)):
        assert (method, re.sub(r"{\w+}", "{}", path)) in known, f"{method} {path}"


def test_every_alert_names_a_runbook_that_exists() -> None:
    runbooks = set(re.findall(r'runbook: "docs/operations\.md(#[^"]+)"', text_of(ALERTS)))
    assert text_of(ALERTS).count("- alert: ") == text_of(ALERTS).count("runbook: ")
    assert runbooks <= anchors(OPERATIONS)


def test_the_runbooks_know_every_reason_of_the_signer() -> None:
    assert [reason for reason in Reason if f"`{reason}`" not in text_of(OPERATIONS)] == []


def test_the_runbooks_quote_the_log_as_it_is() -> None:
    rows = re.findall(
        r"^\| (`.+?`) \|", text_of(OPERATIONS).split("## Payouts wait")[1].split("## The")[0], re.MULTILINE
    )
    source = "".join(text_of(path) for path in sorted((ROOT / "cryptowatch").rglob("*.py")))
    quoted = [phrase for row in rows for phrase in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 6
    assert [phrase for phrase in quoted if phrase not in source] == []


def test_the_runbooks_and_the_architecture_know_every_role() -> None:
    for document in (OPERATIONS, ROOT / "docs" / "architecture.md"):
        assert [role for role in ROLES if f"`{role}`" not in text_of(document)] == []


def test_the_image_and_the_changelog_have_the_packages_version() -> None:
    version = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]
    assert f'image.version="{version}"' in text_of(ROOT / "docker" / "Dockerfile")
    assert f"image: cryptowatch:{version}\n" in text_of(ROOT / "docker" / "compose.yaml")
    assert f"## [{version}]" in text_of(ROOT / "CHANGELOG.md")


def test_nodes_are_told_to_allow_what_the_daemon_calls_and_nothing_else() -> None:
    """What a node refuses to tell is taken for nothing: no child would pay for what a payee has built on."""
    adapter = text_of(ROOT / "cryptowatch" / "chains" / "bitcoin" / "node.py")
    called = set(re.findall(r'"((?:get|send|submit|estimate)[a-z]+)"', adapter))
    [allowed] = re.findall(r"^rpcwhitelist=cryptowatch:(.+)$", text_of(OPERATIONS), re.MULTILINE)
    assert set(allowed.split(",")) == called
