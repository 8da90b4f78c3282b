"""The pages that the commands of an evaluation write beside their JSON: Markdown, HTML and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from rrm_plugin.cli.output import Source
from rrm_plugin.evaluation.plots import check_plots
from rrm_plugin.evaluation.tables import Table, as_html, as_markdown

__all__ = ["Pages", "page_options"]

_FORMS = {"markdown": "the tables in Markdown", "html": "one HTML page with the tables", "png": "a picture"}


def page_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that name the pages to a command."""
    for form, what in reversed(_FORMS.items()):
        option = click.option(
            f"--{form}", form, type=click.Path(dir_okay=False, path_type=Path), help=f"File to write: {what}."
        )
        command = option(command)
    return command


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Where the pages go; None where none is wanted."""

    markdown: Path | None
    html: Path | None
    png: Path | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> Pages:
        """Takes the pages out of a command's options.

        Raises:
            click.BadParameter: a page's folder is not there.
            MissingExtraError: a picture is wanted, and matplotlib is not installed.
        """
        pages = {form: options.pop(form) for form in _FORMS}
        for form, path in pages.items():
            if path is not None and not path.resolve().parent.is_dir():
                raise click.BadParameter(f"--{form}: there is no folder {path.resolve().parent}")
        if pages["png"] is not None:
            # Now, and not when all pairs are judged.
            check_plots()
        return cls(**pages)

    @property
    def files(self) -> dict[str, Source]:
        """The files that are written, by what to call them."""
        pages = {"--markdown": self.markdown, "--html": self.html, "--png": self.png}
        return {called: path for called, path in pages.items() if path is not None}

    def write(
        self, title: str, tables: Sequence[Table], settings: Mapping[str, Any], plot: Callable[[Path], None]
    ) -> None:
        """Writes those that are wanted."""
        told = json.dumps(settings, indent=2, ensure_ascii=False, default=str)
        if self.markdown is not None:
            text = f"# {title}\n\n{as_markdown(tables)}\n## Settings\n\n```json\n{told}\n```\n"
            self.markdown.write_text(text, encoding="utf-8", errors="backslashreplace")
        if self.html is not None:
            self.html.write_text(as_html(title, tables, told), encoding="utf-8", errors="backslashreplace")
        if self.png is not None:
            plot(self.png)
