"""A lake whose Parquet files lie in object storage: a real S3 server that checks signatures, and what is wrong with its keys.

The server is versitygw (Apache-2.0): from the PATH, from STAMMGAST_VERSITYGW, or, with the long tests, built by Go once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from engine.broker import free_port
from engine.cli import main
from engine.settings import UsageError
from projections.lake import LakeWarehouse, open_reader
from projections.object_storage import Storage, read_storage
from tests.conftest import FULL
from tests.projections.test_lake import SOME, apply, batches, in_a_file, rows

pytestmark = pytest.mark.timeout(900)
SERVER = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
BUILT = Path.home() / ".cache" / "stammgast-tests" / "versitygw-1.8.0" / "versitygw"
KEY, SECRET = "writer", "a-secret-of-this-test"
PATIENCE_S = 120.0


def program() -> str:
    """The server. Skips where there is none."""
    found = (
        os.environ.get("STAMMGAST_VERSITYGW") or shutil.which("versitygw") or (str(BUILT) if BUILT.exists() else None)
    )
    if found is not None:
        return found
    go = shutil.which("go")
    if not FULL or go is None:
        pytest.skip(f"no S3 server here: `go install {SERVER}`, or make test-full where Go is installed")
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([go, "install", SERVER], check=True, env=os.environ | {"GOBIN": str(BUILT.parent)}, cwd="/")
    return str(BUILT)


class Bucket(NamedTuple):
    """A bucket of a server that runs, the folder in which it keeps its objects, and a file with the keys."""

    data: str
    folder: Path
    keys: Path


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """An S3 server on loopback, with one bucket."""
    home, port, server = tmp_path_factory.mktemp("s3"), free_port(), program()
    objects, meta = home / "objects", home / "meta"
    (objects / "lake").mkdir(parents=True)
    meta.mkdir()
    keys = home / "s3.yaml"
    keys.write_text(f"key_id: {KEY}\nsecret: {SECRET}\nendpoint: 127.0.0.1:{port}\nurl_style: path\nuse_ssl: false\n")
    keys.chmod(0o600)
    command = [server, "--port", f"127.0.0.1:{port}", "posix", "--sidecar", str(meta), str(objects)]
    login = {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    with (home / "log").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ | login)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(port):
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.05)
        yield Bucket("s3://lake/tables", objects / "lake" / "tables", keys)
    finally:
        process.terminate()
        process.wait(60)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it wants a signature
    except OSError:
        return False
    return True


def test_a_lake_in_object_storage_holds_what_a_file_holds(bucket: Bucket, tmp_path: Path) -> None:
    """Given the same logs with a stop between, merged and cleaned up, then another process with the keys reads every row; without
    them, or with a wrong secret, nobody does, and the keys stand in no error."""
    catalogue, storage = str(tmp_path / "c.ducklake"), read_storage(bucket.keys)
    for batch in batches():
        with LakeWarehouse.open_lake(catalogue, bucket.data, storage=storage) as warehouse:
            warehouse.bind("logs")
            apply(warehouse, batch)
            apply(warehouse, batch)
    with LakeWarehouse.open_lake(catalogue, bucket.data, storage=storage) as warehouse:
        warehouse.compact_seconds = 0.0
        assert warehouse.compact_if_due()
    with closing(open_reader(catalogue, storage=storage)) as reader:
        assert rows(reader, SOME) == in_a_file()
    assert len(list(bucket.folder.rglob("*.parquet"))) > 5

    question = ["query", "--lake", catalogue, "--format", "csv", "select count(*) as n from facts"]
    told = CliRunner().invoke(main, [*question, "--lake-s3", str(bucket.keys)])
    assert told.output.split() == ["n", str(sum(len(batch.facts.values) for batch in batches()))], told.output
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(bucket.keys.read_text().replace(SECRET, "another-secret"))
    wrong.chmod(0o600)
    for given, code, words in (((), 2, "--lake-s3"), (("--lake-s3", str(wrong)), 1, "403")):
        done = CliRunner().invoke(main, [*question, *given])
        assert (done.exit_code, words in done.output) == (code, True), done.output
        assert SECRET not in done.output
        assert "another-secret" not in done.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("key_id: a\n", "secret: field required"),
        ("key_id: a\nsecret: topsecret\ncolour: red\n", "colour"),
        ("key_id: a\nsecret: topsecret\nendpoint: https://s3.example\n", "endpoint"),
        ("key_id: a\nsecret: topsecret\nurl_style: nice\n", "url_style"),
        ("topsecret", "the file"),
        ("key_id: [topsecret", "is no YAML"),
    ],
)
def test_a_mistake_in_the_keys_is_told_and_no_key(text: str, words: str, tmp_path: Path) -> None:
    """What, where, and what belongs there."""
    file = tmp_path / "s3.yaml"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(UsageError) as told:
        read_storage(file)
    assert words in told.value.message
    assert "topsecret" not in told.value.message
    assert "topsecret" not in repr(Storage(key_id="a", secret="topsecret"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lake-data", "s3://lake/tables"], "needs --lake-s3"),
        (["--lake-data", "s3://Lake!/tables", "--lake-s3", "KEYS"], "s3://BUCKET/FOLDER"),
        (["--lake-data", "gs://lake/tables"], "other storage"),
        (["--lake-data", "folder", "--lake-s3", "KEYS"], "is a folder"),
        (["--lake-data", "s3://lake/tables", "--lake-s3", "OPEN"], "chmod 600"),
        (["--lake-data", "s3://lake/tables", "--lake-s3", "none"], "No such file"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], words: str, tmp_path: Path) -> None:
    """Exit code 2, before any Kafka is asked."""
    known = {"KEYS": tmp_path / "keys.yaml", "OPEN": tmp_path / "open.yaml"}
    for name, mode in (("KEYS", 0o600), ("OPEN", 0o644)):
        known[name].write_text("key_id: a\nsecret: b\n")
        known[name].chmod(mode)
    given = [str(known.get(word, word)) for word in arguments]
    lake = ["--lake", str(tmp_path / "c.ducklake")]
    done = CliRunner().invoke(main, ["projector", "--bootstrap", "127.0.0.1:1", *lake, *given])
    assert (done.exit_code, words in done.output) == (2, True), done.output
    asked = CliRunner().invoke(main, ["query", "select 1", "--db", "x", "--lake-s3", str(known["KEYS"])])
    assert (asked.exit_code, "is for --lake" in asked.output) == (2, True), asked.output
