"""The largest files, models, images and numbers of faces that are taken; docs/limits.md lists them.

They are far above what real ones need. What is within them takes a bounded
time and memory, whatever a file says about itself.
"""

# --- files of models

# OpenFace's model with its parts has 10 MB in 600 arrays.
MAX_MODEL_BYTES = 512 * 2**20
MAX_ARRAYS = 10_000
# Of the zip file's directory.
MAX_DIRECTORY_BYTES = 4 * 2**20
MAX_TEXT_BYTES = 2**20
# One file of OpenFace's; the largest has 2.4 MB.
MAX_FILE_BYTES = 64 * 2**20

# --- models, however they were made (OpenFace's: 68, 34, 3, 7, 7, 11, 15, 3)

MAX_LANDMARKS = 1024
MAX_MODES = 512
MAX_SCALES = 8
MAX_PARTS = 16
MAX_VIEWS = 64
MAX_NEURONS = 256
MAX_SUPPORT = 64
MAX_WINDOW = 31  # the cost of a fit grows with its fourth power
MAX_SIGMA_COMPONENTS = 64
MAX_PATCH_SCALE = 100.0  # px per mm
# The learned start's linear steps (the shipped model's: 4, 187, 1.4, 5, 7), so that those of nine guesses
# together take less than a second.
MAX_DESCENT_STEPS = 8
MAX_DESCENT_SIDE = 256
MAX_DESCENT_BLUR = 10.0
MAX_DESCENT_DIRECTIONS = 16
MAX_DESCENT_SAMPLES = 64
# And its network (9, 72, 5, 160, 1; 36 million products).
MAX_NETWORK_LAYERS = 64
MAX_NETWORK_SIDE = 256
MAX_NETWORK_KERNEL = 64
MAX_NETWORK_CHANNELS = 1024
MAX_NETWORK_LOOKS = 4
MAX_NETWORK_PRODUCTS = 10**9
# Of any number in a model, so that no product of them overflows; and the least variance of a mode, mm^2.
MAX_NUMBER = 1e12
MIN_VARIANCE = 1e-12
# The weights of a view's neurons, padded to the expert with the most; the Sigmas of a view.
MAX_VIEW_BYTES = 64 * 2**20
MAX_SIGMA_BYTES = 512 * 2**20

# --- images and faces

# Twice what MAX_PIXELS take at 16 bits.
MAX_IMAGE_BYTES = 2 * 2**30
# An image of so many pixels takes 0.5 GB, a fit of it twice as much.
MAX_PIXELS = 180_000_000
# The kernels' coordinates are fixed-point numbers of 32 bits.
MAX_SIDE = 1_000_000
# Landmarks further off mean that a fit has gone astray, px.
MAX_COORDINATE = 1e9
MAX_FACES_IN_IMAGE = 1000
MAX_FACES_AT_ONCE = 1_000_000

# --- files of landmarks

# An hour's video at 30 frames a second is 0.3 GB.
MAX_CSV_BYTES = 2 * 2**30
# Of the numbers in a Parquet file, unpacked: nine hours of video.
MAX_TABLE_BYTES = 4 * 2**30
MAX_PTS_BYTES = 16 * 2**20
