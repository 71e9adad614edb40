"""Every layer, container and hook of `torch_cases` gives PyTorch's names, draws and numbers."""

import importlib.util

import pytest
import torch_cases as cases

import tinygrad_ce as tg

FROZEN = cases.read()
OURS = dict(cases.answers(tg))


@pytest.mark.parametrize("name", OURS)
def test_the_answer_is_pytorchs(name):
    cases.same(cases.digest(OURS[name]()), FROZEN[name])


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_what_is_frozen_is_still_what_pytorch_says():
    import torch

    theirs = dict(cases.answers(torch))
    assert list(theirs) == list(OURS) == list(FROZEN)
    for name, ask in theirs.items():
        cases.same(cases.digest(ask()), FROZEN[name], where=name)


def test_a_difference_would_be_seen():
    wanted = FROZEN["Linear"]
    for part in ("first", "output", "grads", "losses", "eval"):
        with pytest.raises(AssertionError):
            cases.same({**wanted, part: "something else"}, wanted)
    moved = {**wanted, "losses": [x * (1 + 1e-8) for x in wanted["losses"]]}
    with pytest.raises(AssertionError):
        cases.same(moved, wanted)


# --- compiled, listed, drawn --------------------------------------------------------------------


@pytest.mark.parametrize("name", cases.LAYERS)
def test_a_layer_compiled_does_what_it_does(name):
    """Its training step, traced and compiled, gives the eager numbers, and its text says them."""
    build, inputs, more = cases.LAYERS[name]
    call = more.get("call") or (lambda lib, model, *xs: model(*xs))
    with cases.warnings.catch_warnings():
        cases.warnings.simplefilter("ignore")
        models = []
        for _ in range(2):
            tg.manual_seed(0)
            models.append(build(tg.nn).double())
        ps = list(models[0].parameters())
        if not ps:
            return

        def step_of(model):
            optimizer = tg.optim.SGD(model.parameters(), lr=0.01)

            def step(*xs):
                optimizer.zero_grad()
                loss = cases.loss_of(tg, call(tg, model, *xs))
                loss.backward()
                optimizer.step()
                return loss

            return step

        eager, compiled = step_of(models[0]), tg.compile(step_of(models[1]))
        for seed in range(3):
            xs, losses = cases.tensors(tg, inputs), []
            for each in (eager, compiled):
                tg.manual_seed(seed)
                losses.append(each(*xs).item())
            assert losses[0] == pytest.approx(losses[1], rel=1e-9, abs=1e-9)
        for p, q in zip(ps, models[1].parameters()):
            cases.np.testing.assert_allclose(
                p.detach().numpy(), q.detach().numpy(), rtol=1e-9, atol=1e-9
            )


STEPS = {
    "conv1d": "ConvolutionBackward0", "conv_transpose2d": "ConvolutionBackward0",
    "max_pool1d-kernel_size=2": "SqueezeBackward1", "avg_pool1d-kernel_size=2": "SqueezeBackward1",
    "adaptive_avg_pool1d-output_size=3": "SqueezeBackward1",
    "adaptive_avg_pool2d-output_size=1": "MeanBackward1",
    "adaptive_avg_pool2d-output_size=(2,3)": "AdaptiveAvgPool2DBackward0",
    "normalize": "DivBackward0", "cosine_similarity": "SumBackward1",
    "pairwise_distance": "NormBackward1", "group_norm-all": "NativeGroupNormBackward0",
    "rms_norm-weight": "MulBackward0", "cosine_embedding_loss": "MeanBackward0",
    "triplet_margin_loss": "MeanBackward0", "elu": "EluBackward0",
    "silu-inplace=False": "SiluBackward0",
    "smooth_l1_loss": "SmoothL1LossBackward0", "pad-pad=(1,2)": "ConstantPadNdBackward0",
    "scaled_dot_product_attention": "UnsafeViewBackward0",
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_what_a_function_gives_names_its_step_as_pytorch_does(name):
    case = next(case for case in cases.FUNCTIONS if case.name == name)
    inputs = [tg.tensor(a, requires_grad=i in case.wrt) for i, a in enumerate(case.inputs)]
    assert type(case.call(tg.nn.functional, *inputs).grad_fn).__name__ == STEPS[name]
