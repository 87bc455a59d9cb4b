"""Training from images to a model that fits, on drawn faces."""

import errno
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
from drawn_faces import dataset

from generate_model import generate_model
from pyclnf.errors import ModelError, TrainingError
from pyclnf.model import Model
from pyclnf.nu_rlms import FitParameters, fit
from pyclnf.pdm import PDM
from pyclnf.start import LearnedStart
from pyclnf.training import (
    MIRROR_68,
    AnnotatedFaces,
    DescentConfig,
    DrawConfig,
    ExpertConfig,
    StartConfig,
    TrainingConfig,
    assemble_scales,
    build_pdm,
    held_out,
    refine_start,
    train,
    train_experts,
    train_model,
    train_start,
)
from pyclnf.training.views import _file_of_areas, choose_view

CONFIG = TrainingConfig(
    scales=(0.25,),
    windows=(9, 11),
    draw=DrawConfig(yaws=(0.0,), min_faces=10, negative_share=0.2),
    expert=ExpertConfig(window=7, n_grey=2, n_gradient=0, starts=1, max_iterations=15),
    start=None,
    pdm_variance=0.99,
    held_out=0.25,
)


@pytest.fixture(scope="module")
def data():
    images, landmarks, rotations, shapes = dataset(70, np.random.default_rng(0), yaw=0.15)
    return images, landmarks, rotations, shapes


def trained(data, folder, config=CONFIG, n=50, **more):
    images, landmarks, rotations, shapes = data
    return train_model(
        images[:n],
        landmarks[:n],
        landmarks_3d=shapes,
        rotations=rotations[:n],
        config=config,
        work_dir=folder,
        **more,
    )


@pytest.fixture(scope="module")
def work(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    calls = []
    model = trained(data, folder, progress=lambda *call: calls.append(call))
    return folder, model, calls


def test_the_model_fits_faces_it_has_not_seen(data, work, tmp_path):
    images, landmarks, _, _ = data
    work[1].save(tmp_path / "model.npz", dtype="float16")
    model = Model.load(tmp_path / "model.npz")
    settings = FitParameters((11,), 10, 1.25, 10.0, 0.0)
    rng = np.random.default_rng(1)
    before, after = [], []
    for image, points in zip(images[50:], landmarks[50:], strict=True):
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        start = model.pdm.from_box([*(low + rng.normal(scale=0.05, size=2) * size), *size])
        found = fit(model.pdm, model.scales, settings, image[..., None], start).landmarks
        for errors, shape in ((before, model.pdm.landmarks_2d(start)), (after, found)):
            distance = np.linalg.norm(shape - points, axis=1).mean()
            errors.append(distance / np.linalg.norm(points[36] - points[45]))
    assert np.median(after) < 0.5 * np.median(before)
    assert np.median(after) < 0.05


def test_experts_of_the_sides_are_mirror_images(work):
    view = work[1].scales[0].view(0)
    assert view.landmarks.tolist() == list(range(68))
    for landmark in (0, 20, 36, 48):
        other = MIRROR_68[landmark]
        assert np.array_equal(view.weights[landmark], view.weights[other][:, :, ::-1])
        assert np.array_equal(view.betas[landmark], view.betas[other])


def test_progress_is_reported_to_the_end(work):
    stages = {stage for stage, _, _ in work[2]}
    assert stages == {"images", "experts"}
    assert [done for stage, done, _ in work[2] if stage == "images"] == list(range(1, 51))
    done = [done for stage, done, _ in work[2] if stage == "experts"]
    assert done == sorted(done)
    assert work[2][-1][1:] == (39, 39)


def test_an_interrupted_training_goes_on(data, work):
    folder, model, _ = work
    files = sorted(folder.glob("expert_*.npz"))
    assert len(files) == 39
    files[5].unlink()
    times = {path: path.stat().st_mtime_ns for path in files if path.exists()}
    again = trained(data, folder)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert np.array_equal(again.scales[0].view(0).weights, model.scales[0].view(0).weights)
    assert not list(folder.glob("areas_*"))


def test_processes_give_the_same_model(data, work, tmp_path):
    again = trained(data, tmp_path / "other", workers=2)
    assert np.allclose(again.scales[0].view(0).weights, work[1].scales[0].view(0).weights, atol=1e-3)


def test_a_folder_belongs_to_one_configuration_and_data(data, work):
    other = replace(CONFIG, expert=replace(CONFIG.expert, n_grey=3))
    for arguments in ({"config": other}, {"n": 49}):
        with pytest.raises(TrainingError, match="another configuration"):
            trained(data, work[0], **arguments)
    images, *rest = data
    with pytest.raises(TrainingError, match="other data"):
        trained((images[::-1], *rest), work[0])


def test_turned_views_are_mirrored(tmp_path):
    rng = np.random.default_rng(2)
    images, landmarks, rotations, shapes = dataset(60, rng, yaw=0.5)
    visible = np.ones((60, 68))
    visible[rotations[:, 1] > 0.17, :8] = 0
    visible[rotations[:, 1] < -0.17, 9:17] = 0.1
    config = replace(CONFIG, draw=replace(CONFIG.draw, yaws=(0.0, 20.0), min_visible=0.6))
    config = replace(config, expert=replace(config.expert, max_iterations=11))
    model = train_model(
        images,
        landmarks,
        landmarks_3d=shapes,
        rotations=rotations,
        visible=visible,
        config=config,
        work_dir=tmp_path,
    )
    scale = model.scales[0]
    assert np.allclose(np.degrees(scale.centres), [[0, 0, 0], [0, -20, 0], [0, 20, 0]])
    assert scale.visible.sum(axis=1).tolist() == [68, 60, 60]
    # Turned to positive yaw the face looks to the left of the image, and hides its outline there.
    assert not scale.visible[2, :8].any()
    assert np.array_equal(scale.visible[1], scale.visible[2][MIRROR_68])
    left, right = scale.view(1), scale.view(2)
    i, j = left.landmarks.tolist().index(36), right.landmarks.tolist().index(45)
    assert np.array_equal(left.weights[i], right.weights[j][:, :, ::-1])


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (TrainingConfig, {"scales": ()}, "scales are positive and rise"),
        (TrainingConfig, {"scales": (0.5, 0.25)}, "scales are positive and rise"),
        (TrainingConfig, {"scales": (0.0, 0.25)}, "scales are positive and rise"),
        (TrainingConfig, {"held_out": 0.0}, "held_out lies between 0 and 1"),
        (TrainingConfig, {"held_out": 1.0}, "held_out lies between 0 and 1"),
        (DrawConfig, {"yaws": ()}, "yaws are rising and begin with 0"),
        (DrawConfig, {"yaws": (10.0, 20.0)}, "yaws are rising and begin with 0"),
        (DrawConfig, {"yaws": (0.0, 20.0, 20.0)}, "yaws are rising and begin with 0"),
        (DrawConfig, {"max_faces": 0}, "max_faces is at least 1"),
        (DrawConfig, {"negative_share": 1.1}, r"negative_share and offset lie in \[0, 1\]"),
        (DrawConfig, {"offset": -0.1}, r"negative_share and offset lie in \[0, 1\]"),
        (StartConfig, {"stages": 0}, "the counts of a start's configuration are at least 1"),
        (StartConfig, {"pool": 1}, "the counts of a start's configuration are at least 1"),
        (StartConfig, {"crop": 15}, "the counts of a start's configuration are at least 1"),
        (StartConfig, {"margin": 0.9}, "the counts of a start's configuration are at least 1"),
        (StartConfig, {"depth": 9}, "trees of more than 8 levels"),
        (StartConfig, {"radii": (0.0, 8.0)}, "radii of a start's pools"),
        (StartConfig, {"shrinkage": 0.0}, "shrinkage are positive"),
        (DescentConfig, {"edges": (50.0, 25.0)}, "edges between the views are rising"),
        (DescentConfig, {"edges": (0.0, 25.0)}, "edges between the views are rising"),
        (TrainingConfig, {"scales": (0.25, 0.25)}, "rise from coarse to fine"),
        (TrainingConfig, {"scales": tuple(np.linspace(0.2, 1, 9))}, "at most 8 scales"),
        (TrainingConfig, {"scales": (0.25, 1e3)}, "up to 100 px per mm"),
        (TrainingConfig, {"windows": ()}, "windows are odd numbers from 3 to 31"),
        (TrainingConfig, {"windows": (4,)}, "windows are odd numbers from 3 to 31"),
        (TrainingConfig, {"windows": (9, 33)}, "windows are odd numbers from 3 to 31"),
        (TrainingConfig, {"windows": (7.5,)}, "windows are odd numbers from 3 to 31"),
        (ExpertConfig, {"window": 33}, "a window 31"),
        (ExpertConfig, {"support": 65}, "at most 64 px"),
        (ExpertConfig, {"n_grey": 300}, "at most 256 neurons"),
        (ExpertConfig, {"check_every": 0}, "check_every and patience"),
        (ExpertConfig, {"noise": 0.0}, "sigma and noise are positive"),
        (StartConfig, {"crop": 1025}, "a crop of 1024 px and a margin of 10"),
        (StartConfig, {"margin": 11.0}, "a crop of 1024 px and a margin of 10"),
        (StartConfig, {"pool": 65537}, "at most 65536 pixels"),
        (StartConfig, {"shift": -0.1}, "shift, scale and aspect of a start's boxes"),
        (StartConfig, {"aspect": np.nan}, "shift, scale and aspect of a start's boxes"),
        (StartConfig, {"stages": 2.0}, "whole numbers"),
        (StartConfig, {"boxes": 2.5}, "whole numbers"),
        (StartConfig, {"radii": (30.0, 8.0, 1.0)}, "the two radii"),
        (StartConfig, {"radii": 30.0}, r"radii are several numbers, \(30.0,\)"),
        (DescentConfig, {"around": 8.0}, "counts of a descent are at least 1 and whole"),
        (DescentConfig, {"spread": -1.0}, "margin and spread of a descent"),
        (DescentConfig, {"penalty": "1"}, "its penalty is positive"),
        (DescentConfig, {"penalty": np.inf}, "its penalty is positive"),
        (DescentConfig, {"blurs": ()}, "each step of a descent"),
        (DrawConfig, {"scale_jitter": -1.0}, "scale_jitter and rotation_jitter are not negative"),
        (DrawConfig, {"rotation_jitter": np.inf}, "scale_jitter and rotation_jitter are not negative"),
        (DrawConfig, {"min_faces": 0}, "so is min_faces"),
        (DrawConfig, {"max_faces": 900.0}, "whole numbers"),
        (DrawConfig, {"yaws": np.array([20.0, 0.0])}, "yaws are rising and begin with 0"),
        (DrawConfig, {"yaws": tuple(range(33))}, "at most 64 views"),
        (DrawConfig, {"negative_distance": (2.0, 0.6)}, "a least distance and a greatest"),
        (ExpertConfig, {"support": 11.0}, "whole numbers"),
        (ExpertConfig, {"max_iterations": 15.5}, "whole numbers"),
        (TrainingConfig, {"windows": 9}, r"windows are several numbers, \(9,\)"),
        (TrainingConfig, {"windows": np.array(9)}, "windows are several numbers"),
        (TrainingConfig, {"windows": (9.0,)}, "windows are odd numbers from 3 to 31"),
        (TrainingConfig, {"scales": 0.25}, r"scales are several numbers, \(0.25,\)"),
        (TrainingConfig, {"scales": (np.nan,)}, "scales are finite numbers"),
        (TrainingConfig, {"scales": "0.25"}, "scales are several numbers"),
        (TrainingConfig, {"seed": -1}, "seed is a whole number"),
        (TrainingConfig, {"pdm_emphasis": [(1, 1, 1), (1, 1)]}, "pdm_emphasis are rows of as many numbers"),
        (TrainingConfig, {"pdm_emphasis": np.ones(68)}, "pdm_emphasis are rows of numbers"),
    ],
)
def test_configurations_that_cannot_be(make, changes, message):
    with pytest.raises(TrainingError, match=message):
        make(**changes)


def test_arrays_and_lists_in_a_configuration_are_taken_as_tuples():
    config = TrainingConfig(
        scales=np.array([0.25]),
        windows=[9, 11],
        draw=DrawConfig(yaws=np.array([0, 20])),
        start=StartConfig(radii=[30, 8], descent=DescentConfig(edges=np.array([25.0]))),
        pdm_emphasis=np.ones((68, 3)),
        pdm_contacts=np.array([[41, 37], [40, 38]]),
    )
    plain = TrainingConfig(
        scales=(0.25,),
        windows=(9, 11),
        draw=DrawConfig(yaws=(0, 20)),
        start=StartConfig(radii=(30, 8), descent=DescentConfig(edges=(25.0,))),
        pdm_emphasis=((1.0, 1.0, 1.0),) * 68,
        pdm_contacts=((41, 37), (40, 38)),
    )
    assert config == plain and repr(config) == repr(plain)


def test_a_view_of_many_faces_takes_some_of_them(data):
    images, landmarks, rotations, shapes = data
    pdm = build_pdm(shapes, n_modes=4)
    faces = AnnotatedFaces.fitted(pdm, images[:40], landmarks[:40], rotations=rotations[:40])
    config = DrawConfig(yaws=(0.0,), max_faces=25, min_faces=10)
    view = choose_view(0, faces, MIRROR_68, config, seed=1)
    assert view.faces.size == 25
    # No face twice the same way, in order; as they are and as mirror images.
    pairs = list(zip(view.flipped.tolist(), view.faces.tolist(), strict=True))
    assert pairs == sorted(set(pairs)) and 0 < view.flipped.sum() < 25
    again, other = (choose_view(0, faces, MIRROR_68, config, seed=seed) for seed in (1, 2))
    assert np.array_equal(view.faces, again.faces)
    assert not np.array_equal(view.faces, other.faces)
    config = replace(config, max_faces=80)
    assert choose_view(0, faces, MIRROR_68, config, seed=1).faces.size == 80


def test_the_frontal_view_has_both_of_a_pair_or_none(data):
    """Whichever faces are taken as they are, and which as mirror images."""
    images, landmarks, rotations, shapes = data
    visible = np.ones((40, 68))
    visible[::2, 0] = 0
    visible[1::2, 16] = 0
    pdm = build_pdm(shapes, n_modes=4)
    faces = AnnotatedFaces.fitted(pdm, images[:40], landmarks[:40], rotations=rotations[:40], visible=visible)
    config = DrawConfig(yaws=(0.0,), max_faces=25, min_faces=10, min_visible=0.5)
    sizes = set()
    for seed in range(20):
        chosen = choose_view(0, faces, MIRROR_68, config, seed=seed).landmarks
        assert np.isin(MIRROR_68[chosen], chosen).all()
        sizes.add(chosen.size)
    assert 66 in sizes


def test_a_finished_training_is_read_and_an_unfinished_one_is_not(data, work):
    folder, model, _ = work
    calls = []
    again = trained(data, folder, progress=lambda *call: calls.append(call))
    assert {stage for stage, _, _ in calls} == {"images"}  # nothing is left to train
    assert np.array_equal(again.scales[0].view(0).weights, model.scales[0].view(0).weights)
    path = sorted(folder.glob("expert_*.npz"))[0]
    content = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(TrainingError, match=rf"{path.name} is missing: run the training to its end"):
            assemble_scales(folder, model.pdm, CONFIG)
    finally:
        path.write_bytes(content)


def test_windows_are_not_drawn_again_after_an_interruption(data, work, tmp_path, monkeypatch):
    drawn, done = [], []

    def draw(*arguments):
        drawn.append(arguments[1])
        return draw_view(*arguments)

    def interrupted(task):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(train_one(task))

    draw_view, train_one = train.draw_view, train._train_one
    monkeypatch.setattr(train, "draw_view", draw)
    monkeypatch.setattr(train, "_train_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path)
    assert len(list(tmp_path.glob("expert_*.npz"))) == 3
    monkeypatch.setattr(train, "_train_one", train_one)
    model = trained(data, tmp_path)
    assert drawn == [0.25]
    assert np.array_equal(model.scales[0].view(0).weights, work[1].scales[0].view(0).weights)
    assert not list(tmp_path.glob("areas_*"))


def test_errors_name_what_is_wrong(data, tmp_path):
    images, landmarks, _, shapes = data
    with pytest.raises(TrainingError, match="landmarks_3d"):
        train_model(images, landmarks, work_dir=tmp_path)
    pdm = build_pdm(shapes, n_modes=4)
    with pytest.raises(TrainingError, match="no images"):
        AnnotatedFaces.fitted(pdm, [], np.zeros((0, 68, 2)))
    with pytest.raises(TrainingError, match="68"):
        AnnotatedFaces.fitted(pdm, images, landmarks[:, :60])
    with pytest.raises(TrainingError, match="image 1"):
        AnnotatedFaces.fitted(pdm, images[:2], np.stack([landmarks[0], landmarks[1] * np.nan]))
    with pytest.raises(TrainingError, match="rotations"):
        AnnotatedFaces.fitted(pdm, images[:2], landmarks[:2], rotations=np.zeros((3, 3)))
    with pytest.raises(TrainingError, match=r"visible must be \(2, 68\) numbers in"):
        AnnotatedFaces.fitted(pdm, images[:2], landmarks[:2], visible=np.full((2, 68), 1.5))
    with pytest.raises(TrainingError, match="visible must be"):
        AnnotatedFaces.fitted(pdm, images[:2], landmarks[:2], visible=np.ones((2, 67)))
    for identities in ([1], [1, -1]):
        with pytest.raises(TrainingError, match="identities must be 2 numbers"):
            AnnotatedFaces.fitted(pdm, images[:2], landmarks[:2], identities=identities)
    calls = []
    for workers in (0, 1.5):
        with pytest.raises(TrainingError, match="at least one worker"):
            trained(data, tmp_path, workers=workers, progress=lambda *call: calls.append(call))
        assert not calls and not list(tmp_path.iterdir())
    with pytest.raises(TrainingError, match="at least 60 must show"):
        trained(data, tmp_path, config=replace(CONFIG, draw=DrawConfig(yaws=(0.0, 70.0))))
    for image, message in (
        (images[0].astype(float), "uint8"),
        (None, "imread"),
        (np.zeros((0, 0), np.uint8), "not empty"),
    ):
        with pytest.raises(TrainingError, match=f"image 1: .*{message}"):
            AnnotatedFaces.fitted(pdm, [images[0], image], landmarks[:2]).grey(1)
    for identities in (["a", "b"], [0.5, 1.5], [np.nan, 1]):
        with pytest.raises(TrainingError, match="number names by"):
            AnnotatedFaces.fitted(pdm, images[:2], landmarks[:2], identities=identities)
    missing = np.array([landmarks[0], np.zeros((68, 2))])
    with pytest.raises(TrainingError, match="image 1: the landmarks lie on one line"):
        AnnotatedFaces.fitted(pdm, images[:2], missing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda points: points / 200, "pixels of their image"),
        (lambda points: points + 1000, "outside their image, those of image"),
        (lambda points: points[..., ::-1], "x exchanged with y"),
        (lambda points: points[:, np.random.default_rng(0).permutation(68)], "order of the PDM's"),
    ],
)
def test_landmarks_that_most_images_have_not(data, change, message):
    images, landmarks, _, shapes = data
    pdm = build_pdm(shapes, n_modes=4)
    with pytest.raises(TrainingError, match=message):
        AnnotatedFaces.fitted(pdm, images, change(landmarks))
    if message == "x exchanged with y":
        # Who says how the heads are turned means it.
        behind = np.tile([np.pi, 0.0, np.pi / 2], (len(images), 1))
        assert len(AnnotatedFaces.fitted(pdm, images, change(landmarks), rotations=behind)) == len(images)
    # A single one that has the form of a face does not keep the others from being learned.
    some = np.concatenate([landmarks[:9], change(landmarks[9:10])])
    if message == "order of the PDM's":
        with pytest.raises(TrainingError, match="image 9: the landmarks are not those of a face"):
            AnnotatedFaces.fitted(pdm, images[:10], some)
    else:
        assert len(AnnotatedFaces.fitted(pdm, images[:10], some)) == 10


def test_mirror_images_whose_landmarks_were_not_renumbered(data):
    """As some augment their data: half of the heads would be learned from behind."""
    images, landmarks, _, shapes = data
    pdm = build_pdm(shapes, n_modes=4)
    flipped = landmarks[3:6] * [-1, 1] + [images[0].shape[1] - 1, 0]
    points = np.concatenate([landmarks[:3], flipped])
    with pytest.raises(TrainingError, match=r"image 3, 4, 5: .* is left exchanged with right"):
        AnnotatedFaces.fitted(pdm, images[:6], points)
    renumbered = np.concatenate([landmarks[:3], flipped[:, MIRROR_68]])
    assert repr(AnnotatedFaces.fitted(pdm, images[:6], renumbered)) == "AnnotatedFaces(6 faces, 68 landmarks)"


def test_landmarks_outside_of_their_image_are_named_when_it_is_read(data):
    """Hidden ones may be there: of a face that the picture's edge cuts."""
    images, landmarks, _, shapes = data
    pdm = build_pdm(shapes, n_modes=4)
    points = landmarks[:10].copy()
    points[4] += 1000
    points[7] += 1000
    with pytest.raises(
        TrainingError, match=r"image 4, 7 cannot be used.* \(most landmarks of image 4 lie outs"
    ):
        AnnotatedFaces.fitted(pdm, images[:10], points).digest()
    visible = np.ones((10, 68))
    visible[[4, 7]] = 0
    assert AnnotatedFaces.fitted(pdm, images[:10], points, visible=visible).digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shapes: shapes / 1000, "give landmarks_3d in mm"),
        (lambda shapes: shapes * 1000, "give landmarks_3d in mm"),
        (lambda shapes: shapes * [1, -1, 1], "does y point up"),
    ],
)
def test_shapes_in_another_frame(data, tmp_path, change, message):
    images, landmarks, _, shapes = data
    with pytest.raises(TrainingError, match=message):
        train_model(images, landmarks, landmarks_3d=change(shapes), config=CONFIG, work_dir=tmp_path)


def test_trees_name_landmarks_by_a_byte(data, tmp_path):
    """Said before the experts are trained."""
    images, *_ = data
    rng = np.random.default_rng(0)
    pdm = PDM(rng.normal(size=900) * 50, np.eye(900)[:, :1], [1.0])
    with pytest.raises(TrainingError, match="at most 256 landmarks, not 300"):
        train_model(images, np.zeros((len(images), 300, 2)), pdm=pdm, work_dir=tmp_path)


def test_numbers_of_numpy_in_a_configuration(tmp_path):
    """They are kept in the model's metadata."""
    config = TrainingConfig(
        scales=tuple(np.array([0.25, 0.5])), windows=tuple(np.array([5, 7])), seed=np.int64(3)
    )
    model = generate_model()
    Model(model.pdm, model.scales, metadata={"training": asdict(config)}).save(tmp_path / "m.npz")
    training = Model.load(tmp_path / "m.npz").metadata["training"]
    assert (training["windows"], training["seed"], training["scales"]) == ([5, 7], 3, [0.25, 0.5])
    with pytest.raises(ModelError, match="nothing that JSON can hold"):
        Model(model.pdm, model.scales, metadata={"x": object()}).save(tmp_path / "n.npz")


def in_another_order(points):
    """Landmarks to which the PDM is fitted best with a negative size, or badly."""
    return points[np.random.default_rng(0).permutation(68)]


def test_all_images_with_landmarks_of_no_face_are_named_before_anything_is_trained(data, tmp_path):
    images, landmarks, _, shapes = data
    wrong = landmarks[:40].copy()
    for i in (3, 17, 38):
        wrong[i] = in_another_order(wrong[i])
    with pytest.raises(TrainingError, match="image 3, 17, 38: the landmarks are not those of a face"):
        train_model(images[:40], wrong, landmarks_3d=shapes, config=CONFIG, work_dir=tmp_path)
    assert not list(tmp_path.iterdir())
    for i in range(3, 20):
        wrong[i] = in_another_order(landmarks[i])
    with pytest.raises(TrainingError, match="image 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 8 more"):
        AnnotatedFaces.fitted(build_pdm(shapes, n_modes=4), images[:40], wrong)


def test_a_hard_face_is_no_wrong_one(data):
    """A third of the landmarks is off by a fifth of the face's size, as under a hand or in a caricature."""
    images, landmarks, _, shapes = data
    rng = np.random.default_rng(1)
    off = rng.normal(size=(70, 68, 2)) * (rng.random((70, 68, 1)) < 1 / 3)
    size = landmarks.std(axis=1).max()
    assert (
        len(AnnotatedFaces.fitted(build_pdm(shapes, n_modes=4), images, landmarks + 0.2 * size * off)) == 70
    )


@pytest.mark.parametrize("guess", [np.nan, 0.0, -1.0, 1e4])
def test_hidden_landmarks_that_are_no_guess_do_not_turn_the_face(guess):
    images, landmarks, _, shapes = dataset(20, np.random.default_rng(3), yaw=0.6)
    pdm = build_pdm(shapes, n_modes=5)
    visible = np.ones((20, 68))
    visible[:, :7] = 0
    hidden = np.where(visible[..., None] > 0, landmarks, guess)
    right = AnnotatedFaces.fitted(pdm, images, landmarks, visible=visible)
    faces = AnnotatedFaces.fitted(pdm, images, hidden, visible=visible)
    assert np.abs(faces.poses[:, 1:4] - right.poses[:, 1:4]).max() < np.radians(2)
    # In their place are landmarks of the fit, so that boxes and frames of reference hold all of them.
    apart = np.linalg.norm(faces.landmarks - landmarks, axis=2)
    assert apart[:, :7].max() < 3 and apart[:, 7:].max() == 0
    assert np.array_equal(np.isnan(hidden), np.isnan(np.where(visible[..., None] > 0, landmarks, guess)))
    # Good guesses are used, and stay as they are.
    assert np.array_equal(right.landmarks, landmarks)
    assert np.array_equal(right.poses, AnnotatedFaces.fitted(pdm, images, landmarks).poses)
    # What can be seen, if badly, is no guess.
    visible[4, 3] = 0.3
    if np.isnan(guess):
        with pytest.raises(TrainingError, match=r"landmarks of image 4 are not finite: .* by 0 in visible"):
            AnnotatedFaces.fitted(pdm, images, hidden, visible=visible)


class Unreadable(list):
    def __getitem__(self, index):
        if index in (21, 33):
            raise OSError(f"no such file: {index}.png")
        found = super().__getitem__(index)
        return Unreadable(found) if isinstance(index, slice) else found


def test_images_that_cannot_be_read_are_named_before_anything_is_trained(data, tmp_path):
    images, *rest = data
    bad = Unreadable(images)
    bad[0], bad[7] = None, np.full((160, 160), 128, np.uint8)
    calls = []
    with pytest.raises(
        TrainingError, match=r"image 0, 7, 21, 33 cannot be used: leave it out \(image 0: .*imread"
    ):
        trained((bad, *rest), tmp_path, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("images", 50, 50)
    assert not list(tmp_path.glob("*.np[yz]"))
    with pytest.raises(TrainingError, match=r"image 21 cannot be read: OSError: no such file: 21.png"):
        AnnotatedFaces.fitted(build_pdm(rest[2], n_modes=4), bad, rest[0]).grey(21)


def test_a_folder_notices_any_other_picture_and_other_poses(data, work):
    images, landmarks, rotations, shapes = data
    changed = list(images)
    changed[1] = 255 - images[1]
    with pytest.raises(TrainingError, match="other data"):
        trained((changed, landmarks, rotations, shapes), work[0])
    faces = AnnotatedFaces.fitted(work[1].pdm, images[:50], landmarks[:50], rotations=rotations[:50])
    train_experts(faces, work[1].pdm, str(work[0]), CONFIG)
    # Rounding is no other pose.
    train_experts(replace(faces, poses=faces.poses * (1 + 1e-12)), work[1].pdm, work[0], CONFIG)
    turned = faces.poses.copy()
    turned[5, 2] += 0.1
    with pytest.raises(TrainingError, match="other data"):
        train_experts(replace(faces, poses=turned), work[1].pdm, work[0], CONFIG)


def test_a_view_without_people_held_out_is_named_before_its_windows_are_drawn(data, tmp_path):
    people = np.arange(50) % 5
    visible = np.ones((50, 68))
    visible[np.ix_(held_out(people, CONFIG.held_out), (7, 9))] = 0
    message = "view at yaw 0 degrees the landmark 9 is seen in [34] people to learn from and 0 held out"
    with pytest.raises(TrainingError, match=message):
        trained(data, tmp_path, identities=people, visible=visible)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_that_names_folder_and_size(data, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array_header_1_0", full)
        with pytest.raises(TrainingError, match=r"areas_0.25_0.npy: no room for 3 MB of windows: .*No space"):
            trained(data, tmp_path)
    assert not list(tmp_path.glob("areas_*"))
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(TrainingError, match=r"fits.npz cannot be written: .*No space"):
            trained(data, tmp_path / "other")


def test_the_room_of_windows_is_taken_before_they_are_drawn(tmp_path):
    areas = _file_of_areas(tmp_path / "areas.npy", (3, 500, 17, 17))
    assert (areas.shape, areas.dtype) == ((3, 500, 17, 17), np.float16) and not areas.any()
    status = (tmp_path / "areas.npy").stat()
    # Windows knows no files with holes that are made without being asked for.
    assert getattr(status, "st_blocks", np.inf) * 512 >= areas.nbytes
    areas[1, 2] = 3.0
    areas.flush()
    assert np.load(tmp_path / "areas.npy")[1, 2].min() == 3.0


def test_windows_are_deleted_when_the_experts_of_their_view_are_trained(data, tmp_path, monkeypatch):
    lying = []

    def draw(*arguments):
        lying.append(sorted(path.name for path in tmp_path.glob("areas_*.npy")))
        return draw_view(*arguments)

    draw_view = train.draw_view
    monkeypatch.setattr(train, "draw_view", draw)
    expert = replace(CONFIG.expert, warm_up=1, max_iterations=2)
    trained(data, tmp_path, config=replace(CONFIG, scales=(0.2, 0.25, 0.3), expert=expert))
    assert lying == [[], [], []] or lying == [[], ["areas_0.2_0.npy"], ["areas_0.25_0.npy"]]
    assert not list(tmp_path.glob("areas_*"))


@pytest.mark.parametrize("name", ["expert_0.25_0_8.npz", "views.npz", "fits.npz"])
@pytest.mark.parametrize("cut", [0, 200])
def test_a_damaged_file_is_named(data, work, tmp_path, name, cut):
    shutil.copytree(work[0], tmp_path, dirs_exist_ok=True)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(TrainingError, match=f"{name} is damaged: delete it and run the training again"):
        if name == "fits.npz":
            trained(data, tmp_path)
        else:
            assemble_scales(str(tmp_path), work[1].pdm, CONFIG)


@pytest.mark.parametrize("name", ["expert_0.25_0_8.npz", "views.npz", "fits.npz"])
def test_a_damaged_file_may_be_deleted(data, work, tmp_path, name):
    shutil.copytree(work[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    again = trained(data, tmp_path)
    assert np.array_equal(again.scales[0].view(0).weights, work[1].scales[0].view(0).weights)
    with np.load(tmp_path / name) as new, np.load(work[0] / name) as old:
        for key in old:
            np.testing.assert_allclose(new[key], old[key], rtol=0, atol=1e-4)


def test_folders_that_cannot_be(data, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(TrainingError, match="file cannot be a folder for results"):
        trained(data, path)
    with pytest.raises(TrainingError, match=r"views.npz is missing: run the training to its end"):
        assemble_scales(tmp_path, build_pdm(data[3], n_modes=4), CONFIG)


def test_what_no_model_could_hold_is_said_before_the_training(data, tmp_path):
    expert = replace(CONFIG.expert, support=63, n_grey=200)
    with pytest.raises(TrainingError, match="at most 67108864 are taken: fewer neurons"):
        trained(data, tmp_path, config=replace(CONFIG, expert=expert))
    with pytest.raises(TrainingError, match=r"the window 31 takes 7388168.. bytes for 100 landmarks"):
        train._check_size(100, replace(CONFIG, windows=(31,)))


def test_a_descent_needs_a_pdm_of_mirrored_shapes(data, tmp_path):
    """Said before the experts are trained."""
    images, landmarks, _, shapes = data
    pdm = build_pdm(shapes + np.random.default_rng(0).normal(size=shapes.shape), mirror=False, n_modes=6)
    config = replace(CONFIG, start=StartConfig(descent=DescentConfig()))
    with pytest.raises(
        TrainingError, match="symmetric or antisymmetric: build it of mirrored shapes, or train"
    ):
        train_model(images, landmarks, pdm=pdm, config=config, work_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_given_pdm_whose_landmarks_have_another_mirror_is_refused(data, tmp_path):
    images, landmarks, _, shapes = data
    with pytest.raises(TrainingError, match="mirror: the counterparts"):
        train_model(images, landmarks, pdm=build_pdm(shapes), mirror=np.arange(68), work_dir=tmp_path)


def test_inputs_of_other_kinds_are_named(data, tmp_path):
    images, landmarks, rotations, shapes = data
    pdm = build_pdm(shapes, n_modes=4)
    for arguments, message in (
        (((image for image in images), landmarks), "images have len"),
        (
            (images[:2], [landmarks[0], landmarks[1][:67]]),
            "landmarks are no array of numbers: 1 has a length of 67, those before of 68",
        ),
        (
            (images[:2], landmarks[:2], "visible", [np.ones(68), np.ones(67)]),
            "visible are no array of numbers",
        ),
        ((images[:2], landmarks[:2], "rotations", np.degrees(rotations[:2]) + 90), "rotations are radians"),
    ):
        given, points, *more = arguments
        with pytest.raises(TrainingError, match=message):
            AnnotatedFaces.fitted(pdm, given, points, **dict(zip(more[::2], more[1::2], strict=True)))


def test_poses_are_found_without_rotations_given():
    images, landmarks, rotations, shapes = dataset(8, np.random.default_rng(3), yaw=1.1)
    pdm = build_pdm(shapes, variance=0.999)
    faces = AnnotatedFaces.fitted(pdm, images, landmarks)
    assert np.abs(faces.poses[:, 2] - rotations[:, 1]).max() < 0.25


# --- learned start


START = StartConfig(stages=5, trees=30, depth=4, pool=150, modes=4, boxes=4)


@pytest.fixture(scope="module")
def start():
    images, landmarks, rotations, shapes = dataset(260, np.random.default_rng(4), yaw=0.8)
    pdm = build_pdm(shapes, variance=0.99)
    faces = AnnotatedFaces.fitted(pdm, images, landmarks, rotations=rotations)
    chosen = np.arange(260) < 220
    return faces, pdm, train_start(faces, pdm, chosen, START, seed=1)


def predict(start, image, box):
    return start.hypotheses(image[:, :, None], box)[0]


def test_the_start_is_near_faces_it_has_not_seen(start):
    faces, pdm, cascade = start
    rng = np.random.default_rng(5)
    before, after, yaws = [], [], []
    for i in range(220, 260):
        points = faces.landmarks[i]
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        box = [*(low + rng.uniform(-0.1, 0.1, 2) * size), *(size * rng.uniform(0.85, 1.15))]
        found = predict(cascade, faces.grey(i), box)
        unit = 90 * faces.poses[i, 0]
        for errors, parameters in ((before, pdm.from_box(box)), (after, found)):
            errors.append(np.linalg.norm(pdm.landmarks_2d(parameters) - points, axis=1).mean() / unit)
        yaws.append(found.pose[2])
    assert np.median(after) < 0.35 * np.median(before)
    assert np.corrcoef(yaws, faces.poses[220:, 2])[0, 1] > 0.9


def test_the_start_does_not_depend_on_place_and_size_of_the_face(start):
    faces, pdm, cascade = start
    image, points = faces.grey(225), faces.landmarks[225]
    box = np.array([*points.min(axis=0), *np.ptp(points, axis=0)])
    expected = pdm.landmarks_2d(predict(cascade, image, box))
    shifted = np.pad(image, ((30, 0), (50, 0)))
    found = pdm.landmarks_2d(predict(cascade, shifted, box + np.array([50, 30, 0, 0])))
    assert np.allclose(found, expected + np.array([50, 30]), atol=3)
    doubled = image.repeat(2, axis=0).repeat(2, axis=1)
    in_double = np.append(2 * box[:2] + 0.5, 2 * box[2:])
    assert np.allclose(pdm.landmarks_2d(predict(cascade, doubled, in_double)), 2 * expected + 0.5, atol=3)


def test_the_hypotheses_agree_where_the_face_is_plain_to_see(start):
    faces, pdm, cascade = start
    points = faces.landmarks[230]
    box = np.array([*points.min(axis=0), *np.ptp(points, axis=0)])
    guesses = cascade.hypotheses(faces.grey(230)[:, :, None], box, 9)
    assert len(guesses) == 9
    assert np.array_equal(guesses[0].pose, predict(cascade, faces.grey(230), box).pose)
    shapes = np.array([pdm.landmarks_2d(guess) for guess in guesses])
    spread = np.linalg.norm(shapes - np.median(shapes, axis=0), axis=2).mean(axis=1)
    assert spread[0] > 0
    # The boxes' corners differ by more than a tenth of the face.
    assert np.median(spread) < 0.05 * box[2]


def test_the_start_travels_in_a_model(start, work, tmp_path):
    faces, pdm, cascade = start
    Model(pdm, work[1].scales[:1], arrays=cascade.arrays()).save(tmp_path / "m.npz")
    model = Model.load(tmp_path / "m.npz")
    again = LearnedStart(model.pdm, model.arrays)
    box = np.array([*faces.landmarks[0].min(axis=0), *np.ptp(faces.landmarks[0], axis=0)])
    first, second = (predict(c, faces.grey(0), box) for c in (cascade, again))
    assert np.array_equal(first.pose, second.pose)
    assert sum(a.nbytes for a in cascade.arrays().values()) < 2_000_000
    arrays = {name: value for name, value in cascade.arrays().items() if name != "start/splits"}
    with pytest.raises(ModelError, match="splits"):
        LearnedStart(pdm, arrays)


def test_the_prior_is_what_the_errors_on_other_faces_say(start):
    faces, pdm, cascade = start
    prior = cascade.prior
    assert prior is not None and prior.basis.shape == (pdm.n_modes, pdm.n_modes)
    errors = []
    for i in range(220, 260):
        points = faces.landmarks[i]
        box = [*points.min(axis=0), *np.ptp(points, axis=0)]
        errors.append(faces.shapes[i] - predict(cascade, faces.grey(i), box).shape)
    found = (np.array(errors) @ prior.basis) ** 2
    # Undisturbed boxes are a little easier than those that the prior is made from.
    ratio = np.median(found, axis=0) / prior.variances
    assert 0.1 < np.median(ratio) < 1.2
    # What the start has learned it knows better than the mean shape does.
    learned = np.diag((prior.basis * prior.variances) @ prior.basis.T)[: START.modes]
    assert np.median(learned / pdm.eigenvalues[: START.modes]) < 0.7


def test_steps_are_learned_for_a_predictor_from_elsewhere(start):
    faces, pdm, cascade = start
    chosen = np.arange(len(faces)) < 220
    arrays = cascade.predictor.arrays() | {"start/crop": cascade.arrays()["start/crop"]}
    linear = DescentConfig(
        extent=200.0, scales=(0.3,), radii=(6.0,), blurs=(1.5,), around=4, directions=4, edges=(20.0,)
    )
    config = StartConfig(modes=START.modes, boxes=4, crop=50, descent=linear)
    refined = refine_start(arrays, faces, pdm, chosen, config, seed=1)
    # The crop is that of the predictor, whatever the configuration says.
    assert (refined.side, refined.margin) == (cascade.side, cascade.margin)
    assert refined.descent is not None and refined.prior is not None
    for name, value in cascade.predictor.arrays().items():
        assert np.array_equal(refined.arrays()[name], value)
    rng, errors = np.random.default_rng(5), []
    for i in range(220, 260):
        points = faces.landmarks[i]
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        box = [*(low + rng.uniform(-0.1, 0.1, 2) * size), *(size * rng.uniform(0.85, 1.15))]
        both = (predict(one, faces.grey(i), box) for one in (cascade, refined))
        errors.append([np.linalg.norm(pdm.landmarks_2d(one) - points, axis=1).mean() for one in both])
    before, after = np.median(errors, axis=0)
    assert after < 0.9 * before
    with pytest.raises(TrainingError, match="two faces"):
        refine_start(arrays, faces, pdm, np.zeros(len(faces), bool), config)


def test_a_start_without_other_faces_has_no_prior(start):
    faces, pdm, _ = start
    few = StartConfig(stages=2, trees=2, depth=2, pool=20, modes=4, boxes=2)
    calls = []
    everyone = np.ones(len(faces), bool)
    found = train_start(faces, pdm, everyone, few, progress=lambda *call: calls.append(call))
    assert found.prior is None
    assert calls == [("start", done, 4) for done in (1, 2, 3, 4)]


def test_views_with_many_samples_take_some_and_views_without_take_no_step(start):
    faces, pdm, cascade = start
    arrays = cascade.predictor.arrays() | {"start/crop": cascade.arrays()["start/crop"]}
    linear = DescentConfig(
        extent=133.0,
        scales=(0.3,),
        radii=(6.0,),
        blurs=(1.5,),
        around=2,
        directions=4,
        edges=(20.0, 89.0),
        margin=0.0,
        max_samples=50,
    )
    config = StartConfig(modes=START.modes, boxes=1, descent=linear)
    chosen = np.arange(len(faces)) < 220
    first, second = (refine_start(arrays, faces, pdm, chosen, config, seed=seed) for seed in (1, 1))
    (step,) = first.descent.steps
    assert step.weights[0].any() and step.weights[1].any()
    # Nobody's head was turned by 89 degrees.
    assert not step.weights[2].any() and not step.bias[2].any()
    assert np.array_equal(step.weights, second.descent.steps[0].weights)
    more = replace(config, descent=replace(linear, max_samples=10_000))
    other = refine_start(arrays, faces, pdm, chosen, more, seed=1).descent.steps[0]
    assert not np.array_equal(step.weights, other.weights)


def test_faces_to_learn_from_are_marked_by_bool(start):
    """Of whole numbers the complement would be all faces, and the prior be made of those learned from."""
    faces, pdm, cascade = start
    chosen = np.arange(len(faces)) < 220
    arrays = cascade.predictor.arrays() | {"start/crop": cascade.arrays()["start/crop"]}
    for wrong in (chosen.astype(int), chosen.tolist(), chosen[:250], np.flatnonzero(chosen)):
        with pytest.raises(TrainingError, match="chosen is an array of 260 bool"):
            train_start(faces, pdm, wrong, START)
        with pytest.raises(TrainingError, match="chosen is an array of 260 bool"):
            refine_start(arrays, faces, pdm, wrong, START)


def test_a_start_needs_faces(start):
    faces, pdm, _ = start
    with pytest.raises(TrainingError, match="two faces"):
        train_start(faces, pdm, np.zeros(len(faces), bool), START)
