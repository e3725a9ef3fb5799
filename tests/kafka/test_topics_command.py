"""`stammgast topics create`: the topics of a deployment, made once and refused when they do not fit."""

import subprocess
import sys

from click.testing import CliRunner, Result

from engine.cli import main
from engine.stream.clients import Cluster


def create(cluster: Cluster, prefix: str, *args: str) -> Result:
    """Run the command against a broker."""
    words = ["topics", "create", "--bootstrap", cluster.bootstrap, "--topic-prefix", prefix, *args]
    return CliRunner().invoke(main, words)


def test_topics_are_created_once_and_keep_their_identity(any_cluster: Cluster, prefix: str) -> None:
    """The second run changes nothing and prints the same id; another partition count is refused with exit code 2."""
    # when
    first = create(any_cluster, prefix, "--partitions", "3")
    second = create(any_cluster, prefix, "--partitions", "3")
    other = create(any_cluster, prefix, "--partitions", "4")

    # then
    assert (first.exit_code, second.exit_code, other.exit_code) == (0, 0, 2), first.output
    assert f"{prefix}points-log" in first.output
    assert first.output == second.output
    assert "--partitions 3" in other.output


def test_an_inbound_map_that_makes_no_sense_is_wrong_usage() -> None:
    """The message names the setting and the part that is wrong."""
    # when
    result = CliRunner().invoke(main, ["topics", "create", "--bootstrap", "127.0.0.1:1", "--inbound", "nonsense"])

    # then
    assert result.exit_code == 2
    assert "--inbound" in result.output
    assert "nonsense" in result.output


def test_a_kafka_that_does_not_answer_is_one_clear_message() -> None:
    """Exit code 2, the address and the settings to look at, and nothing else from any library."""
    # given
    program = "from engine.cli import main; main()"

    # when
    ran = subprocess.run(
        [sys.executable, "-c", program, "topics", "create", "--bootstrap", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
    )

    # then
    assert ran.returncode == 2
    assert ran.stderr.startswith("Error: no Kafka answers at 127.0.0.1:1")
    assert ran.stdout + ran.stderr.split("\n", 1)[1] == ""
