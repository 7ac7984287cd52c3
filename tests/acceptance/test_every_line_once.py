"""Every line once: two workers a role, killed, stopped, frozen, joining and leaving while millions of lines flow.

What must be there at the end is what one undisturbed process finds in the same files: every count of every template in
every 10 s, and every closed anomaly. What the case said is what a Unit says now of the recorded `signals`: no alert,
decision or command is missing or doubled.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from case_again import case_again
from run_rig import FORESHOCK, events, foreshock
from trouble_rig import PARTITIONS, Answers, Deployment, answers_of, slice_of

ROLES = ("mine", "detect", "respond", "act")
KINDS = ("kill", "term", "freeze", "join", "leave")
FIRST = ("cart", "mail", "pay")
"""The services of the first file; the others' lines are in the second."""


class Campaign(Deployment):
    """Two workers a role, two files, an ingest for each; a dozen disturbances one after another."""

    def __init__(self, folder, settings):
        super().__init__(folder, settings, [(role,) for role in ROLES for _ in range(2)])
        self.files = [folder / "first.txt", folder / "second.txt"]
        for number, file in enumerate(self.files):
            file.touch()
            data = folder / f"ingest-{number}"
            words = ["ingest", "--input", file, "--name", f"host-{number}", "--data", data, "--config", self.config]
            self._keepers.append(self.keeper_of("ingest", [FORESHOCK, *map(str, words)]))
        self._chance = random.Random(17)
        self.told: Counter[str] = Counter()

    def feed_both(self, lines):
        first = [line for line in lines if any(f'"service": "{name}"' in line for name in FIRST)]
        others = [line for line in lines if not any(f'"service": "{name}"' in line for name in FIRST)]
        for file, part in zip(self.files, (first, others), strict=True):
            with file.open("a") as out:
                out.writelines(part)
        self._fed += len(lines)

    def disturb(self, number):
        """Every kind comes to every role in turn."""
        kind = KINDS[number % len(KINDS)]
        names = (*ROLES, "ingest")
        name = names[(number + number // len(KINDS)) % len(names)]
        if name == "ingest" and kind in ("join", "leave"):
            kind = "kill"  # a file has one reader
        self.told[f"{kind} {name}"] += 1
        victims = [keeper for keeper in self._keepers if keeper.name == name]
        victim = self._chance.choice(victims)
        if kind == "join" or (kind == "leave" and len(victims) == 1):
            self._keepers.append(self.keeper((name,)))
            self._keepers[-1].start()
        elif kind == "leave":
            self._keepers.remove(victim)
            victim.leave()
        elif kind == "freeze":
            victim.process.send_signal(signal.SIGSTOP)
            victim.join(10)
            victim.process.send_signal(signal.SIGCONT)
        else:
            victim.process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGTERM)


def undisturbed(folder: Path, files: list[Path], slices: int) -> Answers:
    """What one process finds in the whole files."""
    inputs = [word for file in files for word in ("--input", file)]
    done = foreshock("run", "--once", *inputs, "--data", folder, "--partitions", PARTITIONS, timeout=600)
    assert done.returncode == 0, done.stderr
    return answers_of(events(folder, "counts"), events(folder, "anomalies"), slices)


def is_said_once(campaign):
    with campaign.log() as log:
        recorded, again = case_again(log, campaign.folder / "data", campaign.settings.run)
    return recorded == again and any(topic == "alerts" for topic, _ in recorded)


@pytest.mark.parametrize(
    ("slices", "scale", "disturbances", "least"),
    [(4, 4, 4, 20_000), pytest.param(10, 190, 12, 3_000_000, marks=pytest.mark.chaos)],
)
def test_every_line_is_counted_once_through_kills_stops_pauses_joins_and_leaves(
    tmp_path, kafka_settings, slices, scale, disturbances, least
):
    campaign = Campaign(tmp_path / "campaign", kafka_settings)
    campaign.apply_topics()
    # Old lines must be there before they are followed: an empty file promises that nothing came until now.
    campaign.feed_both(slice_of(0, scale))
    with campaign:
        done = 0
        for number in range(slices):
            if number:
                campaign.feed_both(slice_of(number, scale))
            while done < disturbances * (number + 1) // slices:
                campaign.disturb(done)
                done += 1
            campaign.await_counted()
        expected = undisturbed(tmp_path / "reference", campaign.files, slices)
        assert sum(expected.counts.values()) == campaign._fed >= least
        assert len(expected.closed) > 10
        campaign.await_answers(expected, slices)
        campaign.wait_until(lambda: is_said_once(campaign), "the case says something else than is recorded")
        assert sum(campaign.told.values()) == disturbances
    print(f"{campaign._fed:,} lines, {sum(campaign.told.values())} disturbances: {dict(campaign.told)}")  # noqa: T201
