import numpy as np
import pytest

from serving.errors import Code, ServingError
from serving.tfrecord import crc32c, encode_record, intact_size, read_records

RECORDS = [b"", b"a", bytes(range(256)) * 9, b"last"]


def bitwise_crc32c(content: bytes) -> int:
    """The definition, bit by bit."""
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0x82F63B78 if checksum & 1 else 0)
    return checksum ^ 0xFFFFFFFF


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "records"
    path.write_bytes(b"".join(map(encode_record, RECORDS)))
    return path


@pytest.mark.parametrize(
    ("content", "checksum"),
    [  # RFC 3720, appendix B.4, which gives the bytes in transmission order
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_the_checksum_is_that_of_the_standard(content, checksum):
    assert crc32c(content) == checksum


def test_the_checksum_is_right_at_every_length_around_a_block():
    generator = np.random.default_rng(1)
    for length in (*range(10), *range(507, 520), 1023, 1024, 1027):
        content = generator.bytes(length)
        assert crc32c(content) == bitwise_crc32c(content), length


def test_a_record_is_laid_out_as_tensorflow_writes_it():
    assert encode_record(b"a").hex() == "01000000000000000175de4161786ee428"  # by tf.io.TFRecordWriter


def test_records_come_back(file):
    assert list(read_records(file)) == RECORDS
    assert intact_size(file) == file.stat().st_size


def test_a_changed_byte_anywhere_is_found(file):
    content = file.read_bytes()
    for position in (*range(60), *range(len(content) - 30, len(content))):
        file.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        with pytest.raises(ServingError, match="must be a TFRecord") as raised:
            list(read_records(file))
        assert raised.value.code == Code.DATA_LOSS


def test_a_length_that_asks_for_too_much_takes_no_memory(file):
    length = (1 << 60).to_bytes(8, "little")
    # The masked checksum of a length is at byte 8 of its record.
    masked = encode_record(b"")[8:12]
    file.write_bytes(length + masked + bytes(100))
    with pytest.raises(ServingError, match="record at byte 0"):
        list(read_records(file))


def test_what_a_writer_that_died_left_behind_is_told_from_what_is_whole(file):
    whole = b"".join(map(encode_record, RECORDS[:3]))
    content = file.read_bytes()
    for size in range(len(whole), len(content)):
        file.write_bytes(content[:size])
        assert intact_size(file) == len(whole), size


@pytest.mark.slow
def test_tensorflow_reads_and_writes_the_same(file, tmp_path):
    import tensorflow as tf

    read = [each.numpy() for each in tf.data.TFRecordDataset(str(file), buffer_size=1 << 16)]
    assert read == RECORDS
    theirs = tmp_path / "theirs"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for record in RECORDS:
            writer.write(record)
    assert theirs.read_bytes() == file.read_bytes()
    assert list(read_records(theirs)) == RECORDS
