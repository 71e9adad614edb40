"""How fast tinygrad_ce trains small networks, next to NumPy by hand and PyTorch.

    python -m tests.benchmarks                     every workload, one thread
    python -m tests.benchmarks --only W1,W2        some of them
    python -m tests.benchmarks --markdown          the table as Markdown
    python -m tests.benchmarks --imports           the price of `import tinygrad_ce`

Each workload is a whole training step, forward, backward and update, in float32. `workloads.py`
describes it and makes its data; `in_numpy.py`, `in_tinygrad_ce.py` and `in_torch.py` each write it
down once. All start from the same weights, and nothing is timed before the losses of the first
steps and what was learnt from them agree. Then short batches of steps are timed in turn, in one
process, each from fresh weights and in rotating order, and the medians are compared: trust the
ratios, not the microseconds. Nothing here fails because it was slow.

PyTorch is compared where it is installed. A new workload is one more entry in `WORKLOADS` and one
function in each `in_*.py`; a new way to run one is one more name in `FRAMEWORKS` and a `Goal`.
"""
