import os
import sys

import pytest

from whyserve.quiet import native_stderr_in


def test_what_native_code_and_python_write_goes_to_the_file_and_no_further(tmp_path, capfd):
    with native_stderr_in(tmp_path / "log"):
        os.write(2, b"native\n")
    sys.stderr.write("after\n")
    assert (tmp_path / "log").read_text() == "native\n"
    assert capfd.readouterr().err == "after\n"


def test_standard_error_is_back_after_an_exception(tmp_path, capfd):
    with pytest.raises(ValueError, match="passes"), native_stderr_in(tmp_path / "log"):
        raise ValueError("passes")
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"
