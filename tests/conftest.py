"""Before anything is imported: one thread a process, as in a sweep's workers.

Several test processes with several threads each wait for one another most of the time.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
