"""The rollouts page on the admin plane: three files, served as they are. It may run no script but its own."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse

FOLDER = Path(__file__).parent / "page"
HEADERS = {
    # Nothing inline and nothing from elsewhere: what prompts say can only ever be text. No frames: its buttons matter.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
TYPES = {"page.css": "text/css", "page.js": "text/javascript"}

router = APIRouter(include_in_schema=False)


@router.get("/")
def root() -> RedirectResponse:
    """The page is all there is to see."""
    return RedirectResponse("/rollouts")


@router.get("/rollouts")
def page() -> FileResponse:
    """The page."""
    return FileResponse(FOLDER / "index.html", media_type="text/html", headers=HEADERS)


@router.get("/rollouts/page.css")
def style() -> FileResponse:
    """How it looks."""
    return FileResponse(FOLDER / "page.css", media_type=TYPES["page.css"], headers=HEADERS)


@router.get("/rollouts/page.js")
def script() -> FileResponse:
    """What it does."""
    return FileResponse(FOLDER / "page.js", media_type=TYPES["page.js"], headers=HEADERS)
