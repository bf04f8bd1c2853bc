"""Forks of a process that trains together with others."""

import os
import sys
import time

import pytest
import torch

from hf_tagger.training import forks


@pytest.fixture
def registered(monkeypatch):
    """What has been asked to run before forks; nothing is run in this process."""
    calls = []
    monkeypatch.setattr(os, "register_at_fork", lambda before: calls.append(before), raising=False)
    return calls


@pytest.mark.parametrize("version", [(3, 10), (3, 11, 7)])
def test_before_cpython_3_12_a_fork_among_several_processes_lets_other_threads_come_to_an_end(
    monkeypatch, registered, version
):
    monkeypatch.setattr(sys, "version_info", version)
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    forks.let_threads_settle_before_forks.__wrapped__()
    (before,) = registered
    before()
    assert slept == []  # one process has no such threads
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    before()
    assert slept == [forks.PAUSE]


@pytest.mark.parametrize("version", [(3, 12), (3, 13, 1)])
def test_later_versions_fork_at_once(monkeypatch, registered, version):
    monkeypatch.setattr(sys, "version_info", version)
    forks.let_threads_settle_before_forks.__wrapped__()
    assert registered == []
