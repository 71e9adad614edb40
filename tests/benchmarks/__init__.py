"""How fast tinygrad_ce trains small networks, next to NumPy by hand, PyTorch and JAX.

    python -m tests.benchmarks                     every workload, one thread
    python -m tests.benchmarks --only W1,W2        some of them
    python -m tests.benchmarks --markdown          the tables as Markdown
    python -m tests.benchmarks --picture FILE.png  the times as a picture, too
    python -m tests.benchmarks --memory            peaks of memory instead of times
    python -m tests.benchmarks --imports           the price of `import tinygrad_ce`

Each workload is a whole training step, forward, backward and update, in float32. `workloads.py`
describes it and makes its data; each `in_*.py` writes it down in one framework: eager and compiled
in tinygrad_ce, by hand in NumPy, eager and compiled in PyTorch, and in JAX. All start from the same
weights, and nothing is timed before the losses of the first steps and what was learnt from them
agree. Then short batches of steps are timed in turn, in one process, each from fresh weights and in
rotating order, and the medians are compared: trust the ratios, not the microseconds. Compiling is
not timed. Nothing here fails because it was slow.

PyTorch and JAX are compared where they are installed; `torch.compile` needs a C++ compiler, too. A
new workload is one more entry in `WORKLOADS` and one function in each `in_*.py`; a new way to run
one is one more entry in `FRAMEWORKS` and a `Goal`.
"""
