"""Every compiled kernel against its NumPy twin."""

from __future__ import annotations

from types import ModuleType

import cv2
import kernel_inputs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_inputs import MAKERS, arguments_of, assert_close, call, copied

from pyclnf import _kernels
from pyclnf._kernels import _reference
from pyclnf.descent import NO_STEPS
from pyclnf.patch_experts import NOTHING_KEPT
from variants import usable_variants

COMPILED = tuple(name for name in usable_variants() if name != "reference")
SEEDS = st.integers(0, 2**32 - 1)
NO_SIGMAS = np.empty((0, 0), np.float32)

many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
few = settings(many, max_examples=15)


@pytest.fixture(params=COMPILED)
def compiled(request: pytest.FixtureRequest) -> ModuleType:
    return _kernels.load_variant(request.param)


def test_every_kernel_is_tested() -> None:
    assert set(MAKERS) == {name for name in _kernels.__all__ if name.islower()} - {"load_variant"}
    assert set(kernel_inputs.BOUNDS) == set(MAKERS)


@pytest.mark.parametrize("name", MAKERS)
@many
@given(seed=SEEDS)
def test_equals_its_twin(compiled: ModuleType, name: str, seed: int) -> None:
    arguments = arguments_of(name, np.random.default_rng(seed))
    returned, ours = call(compiled, name, arguments)
    expected, theirs = call(_reference, name, arguments)
    assert returned == expected
    assert_close(name, ours, theirs)


@pytest.mark.parametrize("name", MAKERS)
def test_same_bytes_every_time(kernels: ModuleType, name: str) -> None:
    for seed in range(5):
        arguments = arguments_of(name, np.random.default_rng(seed))
        once, first = call(kernels, name, arguments)
        # Elsewhere in memory, where vectors may be aligned otherwise.
        again, second = call(kernels, name, copied(arguments))
        assert once == again
        assert [a.tobytes() for a in first] == [a.tobytes() for a in second]


@few
@given(seed=SEEDS)
def test_a_look_with_steps_is_one_after_the_other(kernels: ModuleType, seed: int) -> None:
    arguments = arguments_of("look_at_faces", np.random.default_rng(seed), steps=2)
    whole, own = copied(arguments), copied(arguments)
    kernels.look_at_faces(*whole.values())
    # All but the first of `take_steps`'s arguments are the last of `look_at_faces`'s.
    steps, moved = list(own)[-len(NO_STEPS) - 3 : -3], list(own)[-3:]
    kernels.look_at_faces(*(own | dict(zip(steps, NO_STEPS, strict=True))).values())
    each = len(own["rotations"]) // len(own["crops"])
    for k, crop in enumerate(own["crops"]):
        faces = (own[name][k * each : (k + 1) * each] for name in moved)
        kernels.take_steps(crop[:, :, 0], *(own[name] for name in steps), *faces)
    for name in moved:
        np.testing.assert_array_equal(whole[name], own[name])


@few
@given(seed=SEEDS)
def test_pairs_are_added_at_once_or_not(compiled: ModuleType, seed: int) -> None:
    """Most machines have the one instruction or the other only: what is tested there has to hold for all."""
    arguments = arguments_of("run_layers", np.random.default_rng(seed))
    _, (usual,) = call(compiled, "run_layers", arguments)
    try:
        assert not compiled.fuse_pairs(False)
        _, (apart,) = call(compiled, "run_layers", arguments)
    finally:
        compiled.fuse_pairs(True)
    assert usual.tobytes() == apart.tobytes()


@pytest.mark.parametrize("value", (1e4, -1e6, 1e300, np.inf, -np.inf, np.nan))
@pytest.mark.parametrize("place", range(6))
def test_a_patch_may_lie_anywhere(compiled: ModuleType, value: float, place: int) -> None:
    arguments = arguments_of("describe_points", np.random.default_rng(3))
    arguments["matrix"].flat[place] = value
    with np.errstate(invalid="ignore"):
        _, theirs = call(_reference, "describe_points", arguments)
    assert_close("describe_points", call(compiled, "describe_points", arguments)[1], theirs)


@few
@given(seed=SEEDS)
def test_a_scale_is_its_kernels_one_after_the_other(kernels: ModuleType, seed: int) -> None:
    random = np.random.default_rng(seed)
    arguments = arguments_of("fit_scale", random, sigma=1.5, max_iterations=4)
    own = list(copied(arguments).values())
    returned, (maps, *_, shape) = call(kernels, "fit_scale", arguments)
    image, _, _, mean, components, regularisation, limits, visible, scale, *experts = own[:16]
    gaussians, power, floor, alone, iterations, tolerance, base, to_reference, to_image, matrices = own[16:26]
    planes, sums, own_maps, weights, offsets, pose, own_shape = own[26:]
    placed = base, to_reference, to_image
    kernels.place_areas(mean, components, pose, own_shape, visible, scale, planes.shape[2], *placed, matrices)
    smoothed = own_maps[: len(experts[-1])]
    kernels.response_maps(image, *NOTHING_KEPT, matrices, *experts, planes, sums, smoothed)
    if not len(smoothed):
        own_maps = sums
    np.testing.assert_array_equal(maps, own_maps)
    if power:
        kernels.weigh_maps(own_maps, power, floor, weights)
    done = [
        kernels.nu_rlms_pass(
            mean, components, regularisation, limits, pose, own_shape, base, visible, own_maps, to_reference,
            to_image, gaussians, weights, rigid, iterations, tolerance, offsets,
        )
        for rigid in ((True,) if alone else (True, False))
    ]  # fmt: skip
    assert returned == (sum(updates for updates, _ in done), done[-1][1])
    np.testing.assert_array_equal(shape, own_shape)


@pytest.mark.parametrize("distance", (-1e3, -100.0, 0.0, np.nan))
def test_a_shape_that_is_not_before_the_camera_stays(kernels: ModuleType, distance: float) -> None:
    arguments = arguments_of("perspective_pose", np.random.default_rng(1))
    arguments["translation"][2] = distance
    _, (rotation, translation) = call(kernels, "perspective_pose", arguments)
    np.testing.assert_array_equal(rotation, arguments["rotation"])
    np.testing.assert_array_equal(translation, arguments["translation"])


# --- areas of interest


@pytest.mark.parametrize("dtype", (np.uint8, np.float32, np.float64))
@pytest.mark.parametrize("channels", (1, 3))
@pytest.mark.parametrize("layout", ("contiguous", "steps", "reversed", "transposed", "read-only"))
@few
@given(seed=SEEDS)
def test_images_of_every_layout(
    compiled: ModuleType, dtype: type, channels: int, layout: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (17, 29, channels)).astype(dtype)
    if layout == "steps":
        image = np.repeat(np.repeat(image, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "reversed":
        image = np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1]
    elif layout == "transposed":
        image = np.asfortranarray(image)
    elif layout == "read-only":
        image.flags.writeable = False
    arguments = arguments_of("sample_areas", random, image)
    _, ours = call(compiled, "sample_areas", arguments)
    _, theirs = call(_reference, "sample_areas", arguments)
    assert_close("sample_areas", ours, theirs)
    # The layout alone changes nothing.
    arguments["image"] = np.ascontiguousarray(image)
    assert ours[0].tobytes() == call(compiled, "sample_areas", arguments)[1][0].tobytes()


@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e7, -1e7))
def test_coordinates_outside_every_image_give_zero(kernels: ModuleType, value: float) -> None:
    image = np.full((9, 11, 1), 200, np.uint8)
    for axis in range(2):
        matrices = np.array([[[1.0, 0, 0], [0, 1.0, 0]]])
        matrices[0, axis, 2] = value
        out = np.full((1, 5, 5), np.nan, np.float32)
        kernels.sample_areas(image, matrices, out)
        assert (out == 0).all()


@pytest.mark.parametrize("shape", ((1, 1), (1, 8), (8, 1)))
def test_smallest_images(compiled: ModuleType, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    arguments = arguments_of("sample_areas", random, random.integers(0, 256, (*shape, 1), dtype=np.uint8))
    arguments["matrices"][:, :, 2] = random.uniform(-2, 2, arguments["matrices"][:, :, 2].shape)
    assert_close(
        "sample_areas",
        call(compiled, "sample_areas", arguments)[1],
        call(_reference, "sample_areas", arguments)[1],
    )


def test_whole_pixels_are_read_as_they_are(kernels: ModuleType) -> None:
    image = np.random.default_rng(1).integers(0, 256, (20, 20, 1), dtype=np.uint8)
    out = np.empty((1, 7, 7), np.float32)
    kernels.sample_areas(image, np.array([[[1.0, 0, 4], [0, 1.0, 6]]]), out)
    np.testing.assert_array_equal(out[0], image[6:13, 4:11, 0])


def test_grey_values_are_those_of_opencv(kernels: ModuleType) -> None:
    image = np.random.default_rng(2).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    image[0, :, :] = np.arange(256)[:, None]
    out = np.empty((1, 256, 256), np.float32)
    kernels.sample_areas(image, np.array([[[1.0, 0, 0], [0, 1.0, 0]]]), out)
    np.testing.assert_array_equal(out[0], cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


@pytest.mark.skipif(cv2.__version__.split(".")[0] != "4", reason="OpenCV 5 rounds its coordinates otherwise")
def test_samples_are_those_of_opencv_4(kernels: ModuleType) -> None:
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (60, 80, 1), dtype=np.uint8)
    for _ in range(20):
        matrix = np.column_stack([random.normal(0, 1, (2, 2)), random.uniform(0, 60, 2)])
        out = np.empty((1, 25, 25), np.float32)
        kernels.sample_areas(image, matrix[None], out)
        flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        expected = cv2.warpAffine(image.astype(np.float32), matrix, (25, 25), flags=flags)
        np.testing.assert_allclose(out[0], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", (np.uint8, np.float32, np.float64))
@pytest.mark.parametrize("channels", (1, 3))
@pytest.mark.parametrize("name", ("average_areas", "cut_square"))
@few
@given(seed=SEEDS)
def test_averages_of_images_of_every_type(
    compiled: ModuleType, name: str, dtype: type, channels: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (19, 23, channels)).astype(dtype)
    arguments = arguments_of(name, random, image)
    _, ours = call(compiled, name, arguments)
    assert_close(name, ours, call(_reference, name, arguments)[1])
    # Into 8 bits: the same, rounded.
    arguments["out"] = np.empty(arguments["out"].shape, np.uint8)
    for kernels in (compiled, _reference):
        (rounded,) = call(kernels, name, arguments)[1]
        assert np.abs(rounded - ours[0]).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("dtype", (np.uint8, np.float32, np.float64))
@pytest.mark.parametrize("name", ("average_areas", "cut_square"))
def test_averages_of_grey_values_are_the_same_in_every_compiled_variant(name: str, dtype: type) -> None:
    """What is rounded to 8 bits would else change by a whole grey level now and then."""
    for seed in range(50):
        random = np.random.default_rng(seed)
        arguments = arguments_of(name, random, random.integers(0, 256, (37, 83, 1)).astype(dtype))
        results = {
            call(_kernels.load_variant(variant), name, arguments)[1][0].tobytes() for variant in COMPILED
        }
        assert len(results) == 1


# --- the detector's


@pytest.mark.parametrize("columns", range(1, 27))
def test_filters_of_rows_of_every_length(compiled: ModuleType, columns: int) -> None:
    random = np.random.default_rng(columns)
    filters = random.normal(0, 1, (17, 3, 2, 2)).astype(np.float32)
    weights = _kernels.layout.filters_in_blocks(filters)
    images = random.normal(0, 1, (1, 3, columns + 1, 3)).astype(np.float32)
    out, expected = np.empty((2, 1, 2, columns, 17), np.float32)
    none, ones = np.zeros((2, 16), np.float32), np.ones((2, 16), np.float32)
    compiled.filter_images(images, weights, none, ones, out)
    _reference.filter_images(images, weights, none, ones, expected)
    assert_close("filter_images", [out], [expected])
    # As it is written: nothing is rectified, nothing added.
    corner = np.einsum("fcyx,yxc->f", filters, images[0, :2, :2])
    np.testing.assert_allclose(out[0, 0, 0], corner, atol=1e-5)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("name", ("images", "weights", "out"))
def test_filters_that_do_not_fit_are_refused(compiled: ModuleType, name: str, axis: int) -> None:
    filters = np.ones((5, 4, 2, 2), np.float32)
    arrays = {
        "images": np.ones((2, 6, 6, 4), np.float32),
        "weights": _kernels.layout.filters_in_blocks(filters),
        "biases": np.ones((1, 16), np.float32),
        "slopes": np.ones((1, 16), np.float32),
        "out": np.empty((2, 5, 5, 16), np.float32),
    }
    compiled.filter_images(*arrays.values())
    arrays[name] = np.concatenate([arrays[name]] * 2, axis=axis)
    with pytest.raises(ValueError, match="do not fit"):
        compiled.filter_images(*arrays.values())


@pytest.mark.parametrize("size", ((0, 2), (3, 1), (3, 0), (3, 3)))
def test_only_points_in_an_image_have_an_extent(compiled: ModuleType, size: tuple[int, int]) -> None:
    """Others would be read beyond their end."""
    with pytest.raises(ValueError, match="points are"):
        compiled.extent(np.zeros(size), np.empty(4))


def test_a_row_is_as_it_is_among_others(compiled: ModuleType) -> None:
    """Results depend on no neighbours, to the bit: a batch or a larger image changes none of them."""
    for seed in range(20):
        images, *layer, out = arguments_of("filter_images", np.random.default_rng(seed)).values()
        compiled.filter_images(images, *layer, out)
        height = layer[0].shape[1]
        alone = np.empty((1, 1, *out.shape[2:]), np.float32)
        compiled.filter_images(images[-1:, -height:].copy(), *layer, alone)
        np.testing.assert_array_equal(alone[0, 0], out[-1, -1])


@pytest.mark.parametrize("rows", (256, 257, 400, 512))
def test_long_columns_are_added_exactly(kernels: ModuleType, rows: int) -> None:
    image = np.full((rows, 3, 3), 255, np.uint8)
    image[::3] = 254
    image[1::7] = 200
    out = np.empty((-(-rows // 256), 3, 3), np.uint8)
    kernels.shrink_image(image, out)
    means = np.repeat(image, len(out), axis=0).reshape(len(out), rows, 3, 3).mean(axis=1)
    np.testing.assert_array_equal(out, np.rint(means))


def test_an_image_of_the_same_size_stays(kernels: ModuleType) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    out = np.zeros_like(image)
    kernels.shrink_image(image, out)
    np.testing.assert_array_equal(out, image)


def test_small_images_are_those_of_opencv(kernels: ModuleType) -> None:
    """But for its rounding of places and of halves."""
    random = np.random.default_rng(1)
    for size in ((30, 20), (33, 41), (12, 12), (60, 80)):
        image = cv2.GaussianBlur(random.integers(0, 256, (80, 60, 3), dtype=np.uint8), None, 2.0)
        out = np.empty((size[1], size[0], 3), np.uint8)
        kernels.shrink_image(image, out)
        expected = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        assert np.abs(out.astype(int) - expected).max() <= 1


# --- neurons


@pytest.mark.parametrize("planes", (1, 2, 3))
@pytest.mark.parametrize("blocks", (1, 2, 3))
@pytest.mark.parametrize("window", range(3, 16))
def test_neurons_of_every_window(compiled: ModuleType, window: int, blocks: int, planes: int) -> None:
    arguments = arguments_of("neuron_responses", np.random.default_rng(window), window, blocks, planes)
    assert_close(
        "neuron_responses",
        call(compiled, "neuron_responses", arguments)[1],
        call(_reference, "neuron_responses", arguments)[1],
    )


@pytest.mark.parametrize("dtype", (np.uint8, np.float32, np.float64))
@pytest.mark.parametrize("planes", (1, 2, 3))
def test_maps_in_one_call_have_the_bits_of_its_steps(kernels: ModuleType, planes: int, dtype: type) -> None:
    for seed in range(5):
        random = np.random.default_rng(seed)
        given, *blocks, sums = arguments_of("neuron_responses", random, planes=planes).values()
        sigmas = kernel_inputs.folded_sigmas(random, *sums.shape[:2])
        image, matrices, _ = arguments_of("sample_areas", random, v=len(sums)).values()
        image = image.astype(dtype)
        stepwise, steps, smooth = given.copy(), np.empty_like(sums), np.empty_like(sums)
        kernels.sample_areas(image, matrices, stepwise[0])
        if planes > 1:
            kernels.sobel_magnitude(stepwise[0], stepwise[1])
        kernels.neuron_responses(stepwise, *blocks, steps)
        kernels.apply_folded_sigma(sigmas, steps, smooth)
        maps = np.empty_like(sums)
        kernels.response_maps(image, *NOTHING_KEPT, matrices, *blocks, sigmas, given, sums, maps)
        assert given.tobytes() == stepwise.tobytes()
        assert sums.tobytes() == steps.tobytes()
        assert maps.tobytes() == smooth.tobytes()
        # Without Sigma.
        sums.fill(np.nan)
        kernels.response_maps(image, *NOTHING_KEPT, matrices, *blocks, sigmas, given, sums, maps[:0])
        assert sums.tobytes() == steps.tobytes()


@few
@given(
    seed=SEEDS,
    room=st.sampled_from((0, 300, 2_000, 10_000)),
    channels=st.sampled_from((1, 3)),
    dtype=st.sampled_from((np.uint8, np.float32)),
)
def test_what_is_kept_of_an_image_changes_nothing(
    kernels: ModuleType, seed: int, room: int, channels: int, dtype: type
) -> None:
    """Areas here and there, of one size and another: inside what is kept, around it, beyond the image."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (90, 110, channels)).astype(dtype)
    pairs, bounds = np.full(room, 0xABCD, np.uint16), np.zeros(4, np.int32)
    for _ in range(6):
        planes, *blocks, sums = arguments_of("neuron_responses", random, planes=1).values()
        matrices = np.empty((len(sums), 2, 3))
        matrices[:, :, :2] = np.eye(2) * random.uniform(0.2, 1.5)
        matrices[:, :, 2] = random.uniform(-10, 80, 2) + random.uniform(-6, 6, (len(sums), 2))
        found, alone = np.empty_like(planes), np.empty_like(planes)
        kernels.response_maps(image, pairs, bounds, matrices, *blocks, NO_SIGMAS, found, sums, sums[:0])
        kernels.sample_areas(image, matrices, alone[0])
        assert found.tobytes() == alone.tobytes()
        top, left, rows, columns = bounds.tolist()
        assert rows * columns <= room
        assert 0 <= top <= top + rows <= 90
        assert 0 <= left <= left + columns <= 110


def test_a_part_of_an_image_is_kept(compiled: ModuleType) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (90, 110, 3), dtype=np.uint8)
    planes, *blocks, sums = arguments_of("neuron_responses", random, planes=1).values()
    pairs, bounds = np.zeros(image.size, np.uint16), np.zeros(4, np.int32)
    kept = []
    for at in (40.0, 40.3, 45.0):
        matrices = np.zeros((len(sums), 2, 3))
        matrices[:, :, :2], matrices[:, :, 2] = 0.5 * np.eye(2), at
        compiled.response_maps(image, pairs, bounds, matrices, *blocks, NO_SIGMAS, planes, sums, sums[:0])
        kept.append(bounds.tolist())
        top, left, rows, columns = kept[-1]
        reach = (planes.shape[2] - 1) / 2
        assert top <= at
        assert left <= at
        assert at + reach < min(top + rows, left + columns)
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[top : top + rows, left : left + columns].astype(int)
        held = pairs[: (rows - 1) * columns].reshape(rows - 1, columns)
        np.testing.assert_array_equal(held, grey[:-1] | grey[1:] << 8)
    # A little further on the same does; then what is kept grows, and holds what it did.
    assert kept[0] == kept[1]
    top, left, rows, columns = np.subtract(kept[2], kept[0])
    assert top < 0
    assert left < 0
    assert rows > 5 - top
    assert columns > 5 - left


def test_experts_without_neurons_answer_zero(kernels: ModuleType) -> None:
    arguments = arguments_of("neuron_responses", np.random.default_rng(0))
    arguments["block_planes"][:] = -1
    assert (call(kernels, "neuron_responses", arguments)[1][0] == 0).all()


def test_the_sigmoid_is_exact_to_its_stated_bound(kernels: ModuleType) -> None:
    """A constant patch and weights without a sum leave the bias: the response is 2 alpha sigmoid(bias)."""
    biases = np.concatenate(
        [np.linspace(-30, 30, 200_001), np.linspace(-1e4, 1e4, 1999), [0.0, -0.0, 3e38, -3e38]]
    )
    biases = np.resize(biases, (-(-biases.size // 8), 1, 8)).astype(np.float32)
    v = len(biases)
    # One neuron of a block at a time would hide a faulty lane behind the sum, so each gets a turn.
    for lane in range(8):
        alphas = np.zeros((v, 1, 8), np.float32)
        alphas[:, :, lane] = 0.5
        part = slice(None) if kernels.__name__ != "pyclnf._kernels._reference" else slice(0, None, 50)
        own = np.ascontiguousarray(biases[part])
        count = len(own)
        out = np.empty((count, 1, 1), np.float32)
        kernels.neuron_responses(
            np.full((1, count, 1, 1), 7.0, np.float32),
            np.zeros((count, 1), np.int32),
            np.zeros((count, 1, 1, 1, 8), np.float32),
            np.zeros((count, 1, 8), np.float32),
            np.ones((count, 1, 8), np.float32),
            own,
            np.ascontiguousarray(alphas[part]),
            out,
        )
        x = own[:, 0, lane].astype(np.float64)
        with np.errstate(over="ignore"):
            expected = 1 / (1 + np.exp(-x))
        assert np.abs(out[:, 0, 0] - expected).max() < 2e-7


# --- mean shift


def test_maps_without_mass_draw_nowhere(kernels: ModuleType) -> None:
    arguments = arguments_of("mean_shift", np.random.default_rng(0))
    arguments["responses"][:] = 0
    assert (call(kernels, "mean_shift", arguments)[1][0] == 0).all()


def test_a_single_peak_draws_all_the_way(kernels: ModuleType) -> None:
    responses = np.zeros((1, 11, 11), np.float32)
    responses[0, 7, 3] = 2.0
    out = np.empty((1, 2))
    kernels.mean_shift(responses, np.array([[5.2, 5.0]]), kernel_inputs.gaussian_kernel(11, 1.5), out)
    np.testing.assert_allclose(out, [[3 - 5.2, 7 - 5.0]], atol=1e-12)


# --- normal equations


@pytest.mark.parametrize(
    "H",
    (
        np.zeros((3, 3)),
        np.diag([1.0, 0.0, 1.0]),
        np.diag([1.0, -1.0, 1.0]),
        np.full((3, 3), np.nan),
        np.array([[1.0, 2, 0], [2, 1, 0], [0, 0, 1]]),
    ),
    ids=("zero", "singular", "negative", "nan", "indefinite"),
)
def test_systems_without_a_solution_say_so(kernels: ModuleType, H: np.ndarray) -> None:
    assert not kernels.solve(H, np.ones(3), np.empty(3))


def test_only_the_upper_triangle_is_read(kernels: ModuleType) -> None:
    H = np.array([[4.0, 1, 0], [99, 3, 1], [99, 99, 2]])
    x = np.empty(3)
    assert kernels.solve(H, np.ones(3), x)
    symmetric = np.triu(H) + np.triu(H, 1).T
    np.testing.assert_allclose(symmetric @ x, 1, atol=1e-12)


# --- the pass


@few
@given(seed=SEEDS, updates=st.integers(2, 9))
def test_updates_of_a_pass_are_those_of_as_many_passes(kernels: ModuleType, seed: int, updates: int) -> None:
    """Landmarks that stay on a step of the kernel's table have the moments of the update before."""
    arguments = arguments_of("nu_rlms_pass", np.random.default_rng(seed)) | {"tolerance": 0.0}
    # Small steps, so that some stay.
    arguments["regularisation"] *= 30
    alone = copied(arguments)
    kernels.nu_rlms_pass(*(arguments | {"max_iterations": updates}).values())
    for _ in range(updates):
        kernels.nu_rlms_pass(*alone.values())
    for name in ("pose", "shape", "offsets"):
        assert arguments[name].tobytes() == alone[name].tobytes()


def test_limits_of_the_pass(kernels: ModuleType) -> None:
    for seed in range(20):
        arguments = arguments_of("nu_rlms_pass", np.random.default_rng(seed), max_iterations=seed % 8)
        (done, converged), (pose, shape, _) = call(kernels, "nu_rlms_pass", arguments)
        assert done <= seed % 8 and converged == (done < seed % 8)
        if arguments["rigid"]:
            np.testing.assert_array_equal(shape, arguments["shape"])
        elif done:
            assert (np.abs(shape) <= arguments["limits"]).all()
        if done == 0:
            np.testing.assert_array_equal(pose, arguments["pose"])


def test_a_model_without_modes(compiled: ModuleType) -> None:
    for seed in range(10):
        arguments = arguments_of("nu_rlms_pass", np.random.default_rng(seed), modes=0)
        returned, ours = call(compiled, "nu_rlms_pass", arguments)
        expected, theirs = call(_reference, "nu_rlms_pass", arguments)
        assert returned == expected
        assert_close("nu_rlms_pass", ours, theirs)


def test_nothing_determines_the_step(kernels: ModuleType) -> None:
    """Without weights the rigid system is singular: the parameters stay, and that is no convergence."""
    arguments = arguments_of("nu_rlms_pass", np.random.default_rng(0), max_iterations=5)
    arguments["weights"][:], arguments["rigid"] = 0, True
    returned, (pose, shape, _) = call(kernels, "nu_rlms_pass", arguments)
    assert returned == (0, False)
    np.testing.assert_array_equal(pose, arguments["pose"])
    np.testing.assert_array_equal(shape, arguments["shape"])


@pytest.mark.parametrize("sign", (-1, 1))
def test_a_head_that_looks_straight_aside(kernels: ModuleType, sign: int) -> None:
    """There yaw's neighbours turn about the same axis: one angle holds both turns, the rotation stays."""
    from pyclnf.pdm import euler_to_matrix

    arguments = arguments_of("nu_rlms_pass", np.random.default_rng(1), max_iterations=1)
    before = np.array([0.3, sign * np.pi / 2, -0.2])
    arguments["pose"][1:4], arguments["rigid"] = before, True
    arguments["responses"][:] = 0  # maps without mass: no step
    returned, (pose, _, _) = call(kernels, "nu_rlms_pass", arguments)
    assert returned == (1, False)
    np.testing.assert_allclose(euler_to_matrix(pose[1:4]), euler_to_matrix(before), atol=1e-12)
    # A step turns it further, away from there.
    arguments["responses"][:] = kernel_inputs.responses(
        np.random.default_rng(2), *arguments["responses"].shape[:2]
    )
    _, ours = call(kernels, "nu_rlms_pass", arguments)
    assert_close("nu_rlms_pass", ours, call(_reference, "nu_rlms_pass", arguments)[1])


def test_a_step_beyond_all_numbers_is_no_crash(kernels: ModuleType) -> None:
    """Weights so large that the equations can be solved and their right side overflows."""
    arguments = arguments_of("nu_rlms_pass", np.random.default_rng(3), modes=0, max_iterations=3)
    arguments["mean"] *= 1e-4  # landmarks close together: only the shift has large numbers
    arguments["pose"][:4] = 1, 0, 0, 0
    arguments["base"][:] = arguments["pose"][4:6]
    arguments["to_reference"][:], arguments["to_image"][:] = np.eye(2) * 1e-3, np.eye(2) * 1e3
    window = arguments["responses"].shape[1]
    arguments["responses"][:] = 0
    arguments["responses"][:, window - 1, window - 1] = 1
    arguments["weights"][:] = 1e307
    with np.errstate(all="ignore"):
        _, (pose, _, _) = call(kernels, "nu_rlms_pass", arguments)
    assert not np.isfinite(pose).all()


# --- linear steps


@pytest.mark.parametrize(
    ("place", "value"),
    (("rotation", np.nan), ("x", np.inf), ("scale", np.nan), ("scale", 0.0), ("scale", -1.0)),
)
def test_no_step_from_where_no_face_can_be(kernels: ModuleType, place: str, value: float) -> None:
    """The placement says so, and the other guesses take theirs."""
    arguments = arguments_of("take_steps", np.random.default_rng(5))
    for at in ("rotations", "placements", "shapes"):  # two guesses
        arguments[at] = np.repeat(arguments[at][:1], 2, axis=0)
    _, whole = call(kernels, "take_steps", arguments)
    if place == "rotation":
        arguments["rotations"][0, 1, 1] = value
    else:
        arguments["placements"][0, {"scale": 0, "x": 1}[place]] = value
    _, (rotations, placements, shapes) = call(kernels, "take_steps", arguments)
    assert np.isnan(placements[0]).all()
    np.testing.assert_array_equal(shapes[0], arguments["shapes"][0])
    for ours, expected in zip((rotations, placements, shapes), whole, strict=True):
        assert ours[1].tobytes() == expected[1].tobytes()
