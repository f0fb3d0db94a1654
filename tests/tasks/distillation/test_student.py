import pytest
import torch
from safetensors.torch import save_file

from nst_lightning.encoders.topology import CONVOLUTIONS, LAYERS
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.tasks.distillation.teacher_student import StudentVGG19, fold, normalize_activations

WIDTHS = (3, 4, 5, 6, 7)
RELUS = [f"relu{name[4:]}" for name in CONVOLUTIONS]
POOLS = [name for name in LAYERS if name.startswith("pool")]


def pictures(count=2, seed=0, side=48):
    return torch.rand(count, 3, side, side + 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def student():
    """A student whose batch norms have seen pictures and have scales and shifts of their own."""
    torch.manual_seed(0)
    network = StudentVGG19(WIDTHS)
    for norm in network.norms.values():
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, 0, 0.5)
    with torch.no_grad():
        for seed in range(5):
            network(pictures(seed=seed), ["pool5"])
    return network.eval()


def encoder(state, tmp_path):
    save_file(state, tmp_path / "student.safetensors", {"preprocessing": "imagenet"})
    return VGG19(str(tmp_path / "student.safetensors"), padding="replicate")


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_widths(student):
    maps = student(pictures(), [*RELUS, *POOLS])
    assert {name: value.shape[1] for name, value in maps.items()} == {name: WIDTHS[int(name[4]) - 1] for name in maps}


def test_an_unknown_tap(student):
    with pytest.raises(UserError, match="did you mean 'relu3_1'"):
        student(pictures(), ["relu31"])


def test_nothing_beyond_the_deepest_tap_runs(student):
    del student.convolutions["conv2_1"]
    assert list(student(pictures(), ["relu1_1", "pool1"])) == ["relu1_1", "pool1"]


def test_the_folded_file_computes_what_the_student_computes(student, tmp_path):
    taps = [*RELUS, *POOLS]
    with torch.no_grad():
        expected = student(pictures(), taps)
    frozen = encoder(fold(student), tmp_path)
    for name, value in frozen(pictures(), taps).items():
        assert_close(value, expected[name])
        assert value.abs().max() > 0.01  # else nothing was compared


def test_without_batch_norm_a_folded_network_goes_on_as_itself(student):
    state = fold(student)
    later = StudentVGG19(WIDTHS, batch_norm=False)
    later.convolutions.load_state_dict(state)
    with torch.no_grad():
        expected, found = (network(pictures(), RELUS) for network in (student, later.train()))
    for name, value in found.items():
        assert_close(value, expected[name])
    again = fold(later)
    assert list(again) == list(state)
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_folding_gives_float32_copies_in_network_order(student):
    state = fold(student.bfloat16())
    assert list(state) == [f"{name}.{part}" for name in CONVOLUTIONS for part in ("weight", "bias")]
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert not any(value.requires_grad for value in state.values())


def test_normalized_channels_have_mean_1(student, tmp_path):
    batches = [pictures(seed=seed, side=side) for seed, side in ((1, 48), (2, 32), (3, 40))]
    state = fold(student)
    before, after = encoder(state, tmp_path), encoder(normalize_activations(state, iter(batches)), tmp_path)
    for name in RELUS:
        means = channel_means(before, name, batches)
        active = means > 1e-3 * means.mean()
        assert active.any()
        normalized = channel_means(after, name, batches)
        torch.testing.assert_close(normalized[active], torch.ones_like(means[active]), rtol=1e-4, atol=0)
        # the same function, up to one factor for each channel
        factors = torch.where(active, means, means.mean()).view(1, -1, 1, 1)
        assert_close(after(batches[0], [name])[name] * factors, before(batches[0], [name])[name])


def channel_means(network, name, batches):
    maps = [network(batch, [name])[name].transpose(0, 1).flatten(1) for batch in batches]
    return torch.cat(maps, dim=1).double().mean(dim=1).float()


def test_a_dead_channel_stays_dead_and_its_layer_is_normalised_without_it(student, tmp_path):
    state = fold(student)
    state["conv2_2.weight"][1] = 0
    state["conv2_2.bias"][1] = -5.0
    network = encoder(normalize_activations(state, [pictures()]), tmp_path)
    means = channel_means(network, "relu2_2", [pictures()])
    torch.testing.assert_close(means, torch.tensor([1.0, 0.0, 1.0, 1.0]), rtol=1e-4, atol=0)


def test_a_dead_layer_is_left_alone(student):
    state = fold(student)
    state["conv2_2.bias"] -= 1e3
    normalized = normalize_activations(state, [pictures()])
    assert torch.equal(normalized["conv2_2.bias"], state["conv2_2.bias"])
    assert all(torch.isfinite(value).all() for value in normalized.values())


@pytest.mark.parametrize("layer", ["conv1_2", "conv3_1", "conv5_4"])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_weights_stay_within_float16(student, layer, scale):
    """Neither one channel that is hardly active nor a layer of another scale makes large numbers."""
    state = fold(student)
    for part in ("weight", "bias"):
        state[f"{layer}.{part}"] *= scale
        state[f"{layer}.{part}"][2] *= 1e-7
    normalized = normalize_activations(state, [pictures()])
    for key, value in normalized.items():
        assert value.abs().max() < 5000, key


def test_the_network_may_end_early(student):
    whole = fold(student)
    short = dict(list(whole.items())[:6])
    expected = normalize_activations(whole, [pictures()])
    normalized = normalize_activations(short, [pictures()])
    assert list(normalized) == list(short)
    assert all(torch.equal(value, expected[key]) for key, value in normalized.items())


def test_without_pictures_nothing_changes(student):
    state = fold(student)
    assert all(torch.equal(value, state[key]) for key, value in normalize_activations(state, []).items())
