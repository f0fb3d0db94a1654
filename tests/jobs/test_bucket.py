"""Jobs that read from a bucket and write into it, on an S3 server whose every tenth request fails."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from nst_lightning.cli.main import main
from nst_lightning.errors import StorageError
from nst_lightning.images.samples import sample_path
from tests.helpers.bucket_server import BUCKET, bucket_server, settings

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
pytest.importorskip("moto", reason="moto, an S3 server for tests, is not installed")
pytest.importorskip("flask", reason="flask, which moto's server needs, is not installed")

COUNT = 12
FAST = ["--data.sizes=[32]", "--data.steps=[3]", "--trainer.accelerator=cpu", "--output.settings=false"]
FAST.append("--trainer.precision=32-true")  # in another process as in this one

pytestmark = [pytest.mark.slow, pytest.mark.processes]


@pytest.fixture(scope="module")
def server():
    with bucket_server() as (address, flaky), pytest.MonkeyPatch.context() as patch:
        for name, value in settings(address).items():
            patch.setenv(name, value)
        import boto3
        from s3fs import S3FileSystem

        S3FileSystem.clear_instance_cache()  # which has the address of a server before: xdist steals tests of a module

        yield boto3.client("s3", endpoint_url=address), flaky


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    with Image.open(sample_path("town")) as town:
        for number in range(COUNT):
            name = {10: "p[0]", 11: "p*?"}.get(number, f"p{number:02d}")
            town.crop((9 * number, 0, 300 + 9 * number, 300)).resize((48, 48)).save(tmp_path / f"photos/{name}.png")
    return tmp_path / "photos"


def contents(client, prefix=""):
    found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {each["Key"]: client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read() for each in found}


class Watcher(threading.Thread):
    """Reads every state of every object that it sees, and notes those that are not whole."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.seen, self.partial, self.ended = client, set(), [], False

    def run(self):
        while not self.ended:
            for each in self.client.list_objects_v2(Bucket=BUCKET, Prefix="b/").get("Contents", []):
                state = (each["Key"], each["ETag"])
                if state in self.seen or each["Key"].rsplit("/", 1)[1].startswith("."):
                    continue
                try:
                    content = self.client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
                except self.client.exceptions.NoSuchKey:
                    continue
                self.seen.add(state)
                try:
                    check_whole(each["Key"], content)
                except Exception as error:
                    self.partial.append((each["Key"], len(content), error))
            time.sleep(0.05)


def check_whole(name, content):
    if name.endswith(".png"):
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    elif name.endswith(".ckpt"):
        torch.load(io.BytesIO(content), weights_only=True)
    elif name.endswith(".json"):
        json.loads(content)
    elif name.endswith((".yaml", ".csv")):
        assert content.endswith(b"\n")


def test_a_batch_in_a_bucket_is_that_on_a_disk(server, photos, encoder_file, tmp_path, monkeypatch, capfd):
    client, flaky = server
    monkeypatch.chdir(tmp_path)
    fast = [*FAST, f"--model.encoder.weights={encoder_file}"]
    assert main(["batch", "--contents=photos", "--styles=sample:starry", "--output=painted", *fast]) == 0
    for file in photos.iterdir():
        client.put_object(Bucket=BUCKET, Key=f"b/photos/{file.name}", Body=file.read_bytes())
    place = f"s3://{BUCKET}/b"
    words = ["batch", f"--contents={place}/photos", "--styles=sample:starry", f"--output={place}/painted", *fast]
    words.append(f"--trainer.default_root_dir={place}")

    watcher = Watcher(client)
    watcher.start()
    flaky.every = 10
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    arguments = [sys.executable, "-m", "nst_lightning", *words]
    command = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=environment)
    while len([key for key in painted(client) if key.endswith(".png")]) < COUNT // 3:
        assert command.poll() is None
        time.sleep(0.05)
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    there = len(painted(client))
    assert COUNT // 3 <= there < COUNT
    capfd.readouterr()
    assert main(words) == 0
    flaky.every = 0
    watcher.ended = True
    watcher.join()

    out, err = capfd.readouterr()
    assert out == f"{place}/painted\n"
    assert "nst-mirror" not in err
    assert flaky.faults > 20
    assert watcher.partial == []
    assert len(watcher.seen) > 3 * COUNT
    found = contents(client, "b/painted/")
    local = {file.name: file.read_bytes() for file in (tmp_path / "painted").iterdir()}
    assert {key.rsplit("/", 1)[1]: found[key] for key in found if key.endswith(".png")} == {
        name: content for name, content in local.items() if name.endswith(".png")
    }
    assert found["b/painted/summary.csv"].decode().count(f",{place}/painted/p") == COUNT
    runs = contents(client, "b/lightning_logs/starry-batch/")
    assert not [key for key in runs if key.endswith((".ckpt", ".lock", ".partial", ".probe", "log.txt", "failed.txt"))]
    assert "nst-mirror" not in b"".join(runs.values()).decode("latin-1")
    assert not [key for key in contents(client, "b/") if key.endswith((".probe", ".partial"))]
    events = [key for key in runs if "tfevents" in key]
    assert len(events) >= COUNT

    assert main(words) == 0  # and there is nothing left to do
    assert f"{COUNT} of {COUNT} pairs complete: 0 now, {COUNT} before" in capfd.readouterr().err


def painted(client):
    found = client.list_objects_v2(Bucket=BUCKET, Prefix="b/painted/").get("Contents", [])
    return [each["Key"] for each in found]


def test_a_run_goes_on_from_its_bucket(server, photos, encoder_file, tmp_path, monkeypatch, capfd):
    client, flaky = server
    monkeypatch.chdir(tmp_path)
    flaky.every = 10
    place = f"s3://{BUCKET}/c"
    client.put_object(Bucket=BUCKET, Key="c/photo.png", Body=(photos / "p00.png").read_bytes())
    client.put_object(Bucket=BUCKET, Key="c/style.png", Body=(photos / "p01.png").read_bytes())
    client.put_object(Bucket=BUCKET, Key="c/encoder.safetensors", Body=Path(encoder_file).read_bytes())
    client.put_object(Bucket=BUCKET, Key="c/short.yaml", Body=b"data: {init_args: {sizes: [32], steps: [6]}}\n")
    words = ["fit", "--config=starry", f"--config={place}/short.yaml", f"--data.content={place}/photo.png"]
    words += [f"--data.style={place}/style.png", f"--model.encoder.weights={place}/encoder.safetensors"]
    words += [f"--trainer.default_root_dir={place}", "--trainer.accelerator=cpu"]

    assert (
        main([*words, f"--output.path={place}/whole.png", "--name=whole", "--animation.path", f"{place}/a.webp"]) == 0
    )
    assert main([*words, f"--output.path={place}/half.png", "--name=half", "--trainer.max_steps=3"]) == 0
    found = contents(client, "c/")
    assert found["c/whole.png"] != found["c/half.png"]
    whole = Image.open(io.BytesIO(found["c/whole.png"]))
    assert f"content: {place}/photo.png" in whole.text["nst-lightning"]
    checkpoint = f"{place}/lightning_logs/half/version_0/checkpoints/last.ckpt"
    for path in ("last", checkpoint):
        capfd.readouterr()
        assert main([*words, f"--output.path={place}/half.png", "--name=half", f"--ckpt_path={path}"]) == 0
        assert place in capfd.readouterr().err
    flaky.every = 0
    found = contents(client, "c/")
    images = [Image.open(io.BytesIO(found[f"c/{name}.png"])).tobytes() for name in ("whole", "half")]
    assert images[0] == images[1]
    with Image.open(io.BytesIO(found["c/a.webp"])) as animation:
        assert animation.n_frames > 1
    assert [key for key in found if "/half/" in key and key.endswith("config.yaml")] == [
        "c/lightning_logs/half/version_0/config.yaml"
    ]
    assert "nst-mirror" not in b"".join(found.values()).decode("latin-1")

    assert main([*words, f"--output.path={place}/x/../photo.png"]) == 2
    assert "is one of the pictures read" in capfd.readouterr().err


def test_a_sweep_and_predictions_in_a_bucket(
    server, photos, encoder_file, any_style_file, tmp_path, monkeypatch, capfd
):
    client, flaky = server
    monkeypatch.chdir(tmp_path)
    flaky.every = 10
    place = f"s3://{BUCKET}/d"
    for number in range(3):
        client.put_object(Bucket=BUCKET, Key=f"d/photos/p{number}.png", Body=(photos / "p00.png").read_bytes())
    sweep = ["sweep", "--grid.seed=[1, 2]", f"--data.content={place}/photos/p0.png", "--name=s", *FAST]
    sweep += [f"--trainer.default_root_dir={place}", f"--model.encoder.weights={encoder_file}"]
    command = [sys.executable, "-m", "nst_lightning", *sweep]  # whose workers know of the server from the beginning
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "2 of 2 runs complete" in done.stderr
    network = ["--model.network", any_style_file, "--trainer.accelerator=cpu"]
    predict = ["predict", f"--data.images={place}/photos", "--data.style=sample:starry", *network]
    predict.append(f"--output.folder={place}/painted")
    assert main(predict) == 0
    assert main(predict) == 0
    assert "painting 0 of 3 pictures; 3 are in" in capfd.readouterr().err
    flaky.every = 0
    found = contents(client, "d/")
    assert {"d/lightning_logs/s/results.csv", "d/lightning_logs/s/sheet.png", "d/lightning_logs/s/sweep.yaml"} <= set(
        found
    )
    assert len({found[f"d/painted/p{number}.png"] for number in range(3)}) == 1
    assert found["d/lightning_logs/s/results.csv"].decode().count(",complete,") == 2
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "2 runs in s3://pictures/d/lightning_logs/s, 2 of them complete" in done.stderr


def test_the_log_of_a_failed_run_of_a_sweep_is_in_the_bucket(server, photos, encoder_file, tmp_path, monkeypatch):
    client, flaky = server
    monkeypatch.chdir(tmp_path)
    place = f"s3://{BUCKET}/e"
    whole = (photos / "p00.png").read_bytes()
    client.put_object(Bucket=BUCKET, Key="e/whole.png", Body=whole)
    client.put_object(Bucket=BUCKET, Key="e/broken.png", Body=whole[: len(whole) // 2])
    flaky.every = 10
    sweep = ["sweep", f"--grid.data.content=[{place}/whole.png, {place}/broken.png]", "--name=s", *FAST]
    sweep += [f"--trainer.default_root_dir={place}", f"--model.encoder.weights={encoder_file}"]
    command = [sys.executable, "-m", "nst_lightning", *sweep]
    assert subprocess.run(command, capture_output=True).returncode == 1
    flaky.every = 0
    found = contents(client, "e/lightning_logs/s/")
    logs = {key: content.decode() for key, content in found.items() if key.endswith("log.txt")}
    assert len(logs) == 1
    assert "broken.png" in next(iter(logs.values()))
    assert sum(key.endswith("result.json") for key in found) == 1


def test_a_video_in_a_bucket_is_that_on_a_disk(server, encoder_file, tmp_path, monkeypatch, capfd):
    pytest.importorskip("av", reason="the extra video is not installed")
    pytest.importorskip("cv2", reason="the extra video is not installed")
    from tests.helpers.clips import make_clip, moving_frames

    client, flaky = server
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mkv", moving_frames(3))
    client.upload_file(str(tmp_path / "clip.mkv"), BUCKET, "f/clip.mkv")
    flaky.every = 10
    words = ["video", "--style=sample:starry", "--flow=dis", "--frame_steps=2", *FAST]
    words.append(f"--model.encoder.weights={encoder_file}")
    assert main([*words, "--video=clip.mkv", "--output=painted.mkv"]) == 0
    place = f"s3://{BUCKET}/f"
    words += [f"--video={place}/clip.mkv", f"--output={place}/painted.mkv", f"--trainer.default_root_dir={place}/runs"]
    capfd.readouterr()
    assert main(words) == 0
    assert capfd.readouterr().out == f"{place}/painted.mkv\n"
    flaky.every = 0
    found = contents(client, "f/")
    assert set(found) == {"f/clip.mkv", "f/painted.mkv"}  # the frames are needed no more
    assert found["f/painted.mkv"] == (tmp_path / "painted.mkv").read_bytes()


def test_what_is_set_after_a_failure_is_read(server, monkeypatch):
    """In a notebook the address or the keys are mended, and the cell is run again."""
    from s3fs import S3FileSystem

    from nst_lightning.utils import storage

    client, flaky = server
    flaky.every = 0
    client.put_object(Bucket=BUCKET, Key="g/a.txt", Body=b"there")
    monkeypatch.setattr(storage, "_PAUSES", (0.0,))
    with monkeypatch.context() as wrong:
        wrong.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        S3FileSystem.clear_instance_cache()
        with pytest.raises(StorageError, match="after 2 attempts"):
            storage.find(f"s3://{BUCKET}/g/a.txt")
    found = storage.find(f"s3://{BUCKET}/g/a.txt")
    assert storage.fetch(found).read_bytes() == b"there"


def test_what_a_bucket_refuses_is_one_line(server, tmp_path, monkeypatch, capfd):
    server[1].every = 0
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--data.content=sample:town", "--data.style=sample:starry", *FAST]
    for output, problem in {
        "s3://nosuchbucket/a.png": "make s3://nosuchbucket, or choose another place",
        f"s3://{BUCKET}/folder": "expected an output file ending in",
    }.items():
        assert main([*words, f"--output.path={output}"]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert problem in line
    assert main([*words, f"--data.content=s3://{BUCKET}/nothing.png"]) == 2
    assert f"found nothing at s3://{BUCKET}/nothing.png" in capfd.readouterr().err
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    command = [sys.executable, "-m", "nst_lightning", *words, f"--output.path=s3://{BUCKET}/a.png"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"nst: cannot read s3://{BUCKET}/a.png, there are no credentials")
    assert line.endswith("set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
