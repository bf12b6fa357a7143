"""Faults for the sweep under test; Python imports this by itself where the folder is on its path.

Nothing of the project knows about it. The environment says what happens::

    FAULT_LOG       a file: a JSON line for each training that starts, each stack that has landed
    FAULT_RUN       which run of the command this is
    FAULT_CALL      "ROLE:FUNCTION:N": in one driver or worker, the N-th call of os.FUNCTION kills
    FAULT_ONCE      a folder that the process that kills itself makes: only one does
    FAULT_POISON    a JSON object, init seed to what its training does
    FAULT_GRACE_S   seconds of grace of the watchdog
"""

import ctypes
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time


def role():
    if any("default_worker.py" in argument for argument in sys.orig_argv):
        return "worker"
    return "driver" if "study.sweep" in sys.orig_argv else ""


def log(**event):
    line = json.dumps({"run": os.environ.get("FAULT_RUN"), "at": time.time(), **event}) + "\n"
    with open(os.environ["FAULT_LOG"], "a") as stream:
        stream.write(line)


def kill_in_call(spec, myself):
    wanted, name, count = spec.split(":")
    if myself != wanted:
        return
    original = getattr(os, name)
    left = [int(count)]

    def wrapper(*arguments, **options):
        if any("/results/" in str(value) for value in arguments) or name == "fsync":
            left[0] -= 1
            if left[0] == 0:
                try:
                    os.mkdir(os.environ["FAULT_ONCE"])
                except FileExistsError:
                    pass
                else:
                    log(kill=spec)
                    os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(os, name, wrapper)


def poison(kind):
    if kind == "raise":
        raise RuntimeError("poison in the training")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "crash":
        ctypes.string_at(0)
    if kind == "exit":
        os._exit(7)
    if kind == "memory":
        # A real allocation that cannot succeed, refused before a page is touched.
        import numpy

        numpy.ones(1 << 48)
    if kind == "hang":
        time.sleep(3600)


def watch_trainable(module):
    stack_events, write_tables = module.stack_events, module.write_tables
    bad = {
        int(key): kind for key, kind in json.loads(os.environ.get("FAULT_POISON", "{}")).items()
    }

    def logged_events(stack, **options):
        log(training=[trial.trial_id for trial in stack.trials])
        for trial in stack.trials:
            if trial.training.learning_rate < 1:
                poison(bad.get(trial.init_seed))
        return (yield from stack_events(stack, **options))

    def logged_write(folder, part_id, tables):
        write_tables(folder, part_id, tables)
        log(landed=[row["trial_id"] for row in tables.get("trials", [])])

    module.stack_events, module.write_tables = logged_events, logged_write
    module.HANG_GRACE_S = float(os.environ.get("FAULT_GRACE_S", module.HANG_GRACE_S))


class Hook(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self):
        self.loader = None

    def find_spec(self, name, path, target=None):
        if name != "study.execution.trainable" or self.loader is not None:
            return None
        self.loader = "looking"
        spec = importlib.util.find_spec(name)
        self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        self.loader.exec_module(module)
        watch_trainable(module)


if os.environ.get("FAULT_LOG") and role():
    sys.meta_path.insert(0, Hook())
    if os.environ.get("FAULT_CALL"):
        kill_in_call(os.environ["FAULT_CALL"], role())
