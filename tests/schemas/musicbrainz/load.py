"""Creates MusicBrainz's schema from its own scripts and its sample rows; both are published in the package mbdata."""

from importlib.resources import files
from uuid import UUID

import psycopg
from mbdata.models import ArtistCredit, Medium
from mbdata.sample_data import create_sample_data
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

SCRIPTS = ["Extensions", "CreateCollations", "CreateSearchConfiguration", "CreateTypes", "CreateTables"]
SCRIPTS += ["CreatePrimaryKeys", "CreateFunctions", "CreateIndexes", "CreateFKConstraints", "CreateConstraints"]


def script(name: str) -> str:
    text = files("mbdata").joinpath(f"sql/{name}.sql").read_text()
    return "\n".join(line for line in text.splitlines() if not line.startswith("\\"))


with psycopg.connect("", autocommit=True) as connection:
    connection.execute("SET search_path = musicbrainz, public")
    for name in SCRIPTS:
        connection.execute(script(name))


class Filling(Session):
    """The sample rows are older than the tables: some have had no public identifier then."""

    def add(self, row, *args, **kwargs):
        if isinstance(row, ArtistCredit | Medium) and row.gid is None:
            row.gid = UUID(int=row.id)
        super().add(row, *args, **kwargs)


with Filling(create_engine("postgresql+psycopg://")) as session:
    create_sample_data(session)
    session.commit()
