"""Pages of the site that lie elsewhere in the repository, and links that leave ``docs/``.

The README is the home page, and CHANGES.md, CONTRIBUTING.md and the model cards are pages too. Links in
Markdown are written for the repository, where they work as they are; on the site they are turned to the page
of that file, or to the file in the repository where it is no page.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# File of the repository -> page of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGES.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "bids_mmh/resources/embedded/README.md": "model_cards/embedded.md",
    "bids_mmh/resources/slice_encoder/README.md": "model_cards/slice_encoder.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of ``docs/``."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Turn the links of a page; what exists nowhere is left for the strict build to complain about."""
    repository = f"{config.extra['repository']}/blob/main"
    return _LINK.sub(lambda link: turned(link, page.file.src_uri, repository), markdown)


def turned(link: re.Match[str], page: str, repository: str) -> str:
    """Return where a link leads on the site.

    Args:
        link: Match with the groups ``path`` and ``anchor``, as written in the repository.
        page: Page that has the link, relative to the root of the site.
        repository: Address of the files of the repository.
    """
    source = SOURCES.get(page, f"docs/{page}")
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["path"]))
    if not (ROOT / file).is_file():
        return link[0]
    anchor = link["anchor"] or ""
    if file not in PAGES and not file.startswith("docs/"):
        return f"{repository}/{file}{anchor}"
    target = PAGES.get(file, file.removeprefix("docs/"))
    return posixpath.relpath(target, posixpath.dirname(page) or ".") + anchor
