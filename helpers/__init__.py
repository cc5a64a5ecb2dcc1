"""What two or more notebooks share: data, training, checks, figures, reports.

To be imported before PyTorch and NumPy, which read the number of their threads when they start.
"""

import os
import sys

# One thread, which sleeps while it waits. Two threads of PyTorch spin while they wait for each
# other, and on a busy machine that is most of the time: beside one busy process, an iteration of
# notebook 04 took 158 ms with two threads, 68 ms with one, 58 ms with two that sleep. Two trainings
# side by side use two cores better. Who sets these variables is obeyed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if os.environ.setdefault("OMP_NUM_THREADS", "1") == "1" and "numpy" in sys.modules:
    # Colab's kernel has imported NumPy before, and it takes no notice of the variable any more.
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    threadpool_limits(1)
