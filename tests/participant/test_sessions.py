"""How sessions are handed out: locked one by one, shared with other runs, given back."""

from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from nipype import Workflow

from bids_mmh.errors import BadDataError, ExitCode
from bids_mmh.participant import sessions
from bids_mmh.participant.outcome import Outcome, Status
from bids_mmh.runtime.locks import session_lock


class Job(SimpleNamespace):
    """A stand-in of a session."""

    def is_done(self):
        return self.done


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Make a queue of sessions that need no work, and say what it said of their ends."""
    settings = SimpleNamespace(output_dir=tmp_path / "out", work_dir=tmp_path / "work", clean_workdir=True)

    def outcomes_of(job, failures):
        code = failures[0].code if failures else ExitCode.OK
        return [Outcome(job.node_name, "x", Status.FAILED if failures else Status.DONE, "Why.", code=code)]

    def graph_of(job, device):
        if job.broken:
            raise BadDataError("The scan has gone: copy it again.")
        return Workflow(job.node_name)

    monkeypatch.setattr(sessions, "session_outcomes", outcomes_of)
    monkeypatch.setattr(sessions, "session_graph", graph_of)
    monkeypatch.setattr(sessions, "write_session_page", lambda *_: None)

    def make(count, broken=()):
        scan = SimpleNamespace(scan=SimpleNamespace(path=SimpleNamespace(name="x")))
        jobs = [
            Job(
                node_name=f"sub_{n}",
                session=SimpleNamespace(label=f"sub-{n}"),
                settings=settings,
                scans=[scan],
                done=False,
                broken=n in broken,
            )
            for n in range(count)
        ]
        ended, outcomes = [], []
        progress = SimpleNamespace(session_ended=lambda job, is_done: ended.append((job.node_name, is_done)))
        made = sessions.SessionQueue(jobs, "cpu", progress, outcomes)
        return SimpleNamespace(queue=made, jobs=jobs, ended=ended, outcomes=outcomes, folder=tmp_path)

    return make


def locks(folder):
    return sorted(path.name for path in (folder / "out" / "logs").glob(".*.lock"))


def test_only_sessions_under_way_are_locked(queue):
    run = queue(4)
    workflows = run.queue.workflows()
    assert [next(workflows).name, next(workflows).name] == ["sub_0", "sub_1"]
    assert locks(run.folder) == [".sub_0.lock", ".sub_1.lock"]
    run.queue.ended("sub_0", ())
    assert locks(run.folder) == [".sub_1.lock"]
    assert run.ended == [("sub_0", True)]
    run.queue.stop()
    assert locks(run.folder) == []
    assert [(one.session, one.status) for one in run.outcomes[2:]] == [
        ("sub-2", Status.UNFINISHED),
        ("sub-3", Status.UNFINISHED),
    ]


def test_the_work_files_of_a_finished_session_go_at_once_and_those_of_a_failed_one_stay(queue):
    run = queue(2)
    for name in ("sub_0", "sub_1"):
        (run.folder / "work" / "bids_mmh" / name).mkdir(parents=True)
    assert len(list(run.queue.workflows())) == 2
    run.queue.ended("sub_0", ())
    run.queue.ended("sub_1", [SimpleNamespace(code=ExitCode.IO)])
    assert [path.name for path in (run.folder / "work" / "bids_mmh").iterdir()] == ["sub_1"]
    assert run.ended == [("sub_0", True), ("sub_1", False)]


def test_sessions_of_another_run_come_last(queue):
    run = queue(4)
    with ExitStack() as other, session_lock(run.jobs[2]):
        for number in (0, 1):
            other.enter_context(session_lock(run.jobs[number]))
        workflows = run.queue.workflows()
        assert next(workflows).name == "sub_3"
        run.jobs[1].done = True  # the other run finishes it, and gives up the first
        other.close()
        assert [workflow.name for workflow in workflows] == ["sub_0"]
    by_session = {outcome.session: outcome for outcome in run.outcomes}
    assert by_session["sub-1"].status == Status.SKIPPED
    assert (by_session["sub-2"].status, by_session["sub-2"].code) == (Status.UNFINISHED, ExitCode.TRY_AGAIN)


def test_a_session_that_cannot_begin_stops_no_other(queue):
    run = queue(3, broken={1})
    assert [workflow.name for workflow in run.queue.workflows()] == ["sub_0", "sub_2"]
    (failed,) = run.outcomes
    assert (failed.status, failed.reason) == (Status.FAILED, "The scan has gone: copy it again.")
    assert ".sub_1.lock" not in locks(run.folder)
