"""What every worker process needs, made ready once in the server that they are forked from."""

import pyarrow as pa  # noqa: F401
import scipy.special
import scipy.stats  # noqa: F401

import vmexit_sim.study.sweep.work  # noqa: F401
from vmexit_sim.engine.compiled_engine import prepare

prepare()
