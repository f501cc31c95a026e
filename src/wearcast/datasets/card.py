"""What a data set says about itself, declared beside its loader."""

from __future__ import annotations

import fnmatch
import glob
from typing import Literal

from pydantic import Field, model_validator

from wearcast.config import Strict

__all__ = ["DataFile", "DatasetCard", "ValueKind"]

ValueKind = Literal["number", "integer", "text", "timestamp"]
"""What the cells of a published column hold."""


class DataFile(Strict):
    """A file of a data set, or a family of them."""

    pattern: str = Field(description="Plain name without folders; may hold * and ?.")
    required: bool = Field(True, description="Whether the set is incomplete without it.")
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Of the content; a file with other line ends passes too."
    )
    size_bytes: int | None = Field(None, gt=0)
    url: str | None = Field(None, description="Where this file alone is published, if not all of them in one.")
    columns: tuple[str, ...] = Field((), description="Columns in the order of the file; empty if it is no table.")
    header: bool = Field(True, description="Whether the first line names the columns; if not, blanks part them.")
    media_type: str = "text/csv"

    @model_validator(mode="after")
    def _one_file_has_one_sum(self) -> DataFile:
        if glob.has_magic(self.pattern) and (self.sha256 or self.url):
            raise ValueError(f"{self.pattern} may be several files, which cannot share a checksum or a URL")
        return self

    def matches(self, name: str) -> bool:
        """Whether a file of this plain name is meant."""
        return fnmatch.fnmatchcase(name, self.pattern)


class DatasetCard(Strict):
    """Source, licence, paper, files and columns of a data set."""

    name: str = Field(description="What a user types, without a subset.")
    title: str
    summary: str
    subsets: tuple[str, ...] = Field((), description="Each is loaded as name/subset.")
    licence: str
    licence_url: str | None = None
    citation: str
    publisher: str | None = Field(None, description="Who gave it to the public.")
    homepage: str | None = Field(None, description="The page that a person reads about it.")
    url: str | None = Field(
        None, description="The zip or the file that is downloaded; None for a set that is made here."
    )
    mirrors: tuple[str, ...] = Field((), description="Other places of the same files, tried in this order after url.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Of what lies at url, where it is known.")
    size_bytes: int | None = Field(None, description="Roughly how much is downloaded.")
    rows: int | None = Field(None, description="Readings of all published files together.")
    published: str | None = Field(None, description="Year, or date as YYYY-MM-DD.")
    files: tuple[DataFile, ...] = Field((), description="What is kept of the download; one of them must be there.")
    units_of_measure: dict[str, str] = Field(default_factory=dict)
    descriptions: dict[str, str] = Field(default_factory=dict, description="What each column measures.")
    kinds: dict[str, ValueKind] = Field(default_factory=dict, description="Of columns that are not plain numbers.")
    headers: dict[str, str] = Field(default_factory=dict, description="Name in the file, where it is another.")
    traps: tuple[str, ...] = Field((), description="What misleads those who do not know it.")
    manual_steps: str | None = Field(None, description="What to do by hand where the host is out of reach.")
    unverified: str | None = Field(None, description="What of this card was not checked against the publisher.")

    @property
    def built_in(self) -> bool:
        """Whether the set is made here, so that there is nothing to fetch."""
        return self.url is None and not self.files

    @property
    def patterns(self) -> tuple[str, ...]:
        """Plain names of the files that are kept of a download."""
        return tuple(file.pattern for file in self.files) or ("*",)

    def file_of(self, name: str) -> DataFile | None:
        """The declared file that a plain name belongs to."""
        return next((file for file in self.files if file.matches(name)), None)
