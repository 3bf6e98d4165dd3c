import re
from pathlib import Path

from masa_node.api.paths import CHAT_ENDPOINTS
from masa_node.api.routes import GET_PATHS
from masa_node.node.settings.docs import setting_docs
from tools.generate_docs import DOCS, stale_pages

ROOT = Path(__file__).parents[2]


def test_the_generated_pages_are_what_the_code_says() -> None:
    assert stale_pages() == [], "run `make docs`"


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_endpoint_is_documented() -> None:
    page = (DOCS / "endpoints.md").read_text("utf-8")
    assert [path for path in {*CHAT_ENDPOINTS, *GET_PATHS} if f" {path}`" not in page] == []


def test_every_setting_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"^\s*([A-Z][A-Z_]{3,})=", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    assert named
    assert named <= {doc.name for doc in setting_docs()}
