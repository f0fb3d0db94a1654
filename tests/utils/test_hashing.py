import hashlib

import pytest

from nst_lightning.utils.hashing import file_sha256


@pytest.mark.parametrize("size", [0, 5, 2**20, 2**20 + 1])
def test_the_digest_is_that_of_all_bytes(size, tmp_path):
    data = bytes(i % 251 for i in range(size))
    (tmp_path / "file").write_bytes(data)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_an_open_file_is_read_from_its_beginning(tmp_path):
    (tmp_path / "file").write_bytes(b"some bytes")
    with (tmp_path / "file").open("rb") as file:
        file.read(3)
        assert file_sha256(file) == file_sha256(tmp_path / "file")
