"""The limit of open files, raised in a process of its own."""

import subprocess
import sys

import pytest

_TRY = """
import resource, sys
from headwater.app.descriptors import allow_connections
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
allow_connections(100)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("hard", "soft", "warns"), [(1000, 228, False), (150, 150, True)])
def test_the_limit_is_raised_as_far_as_connections_need_and_is_allowed(hard: int, soft: int, warns: bool) -> None:
    done = subprocess.run([sys.executable, "-c", _TRY, str(hard)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == str(soft)
    assert ("descriptors_too_few" in done.stdout + done.stderr) is warns
