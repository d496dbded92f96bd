"""Training shared by two processes that torchrun starts, and where devices and precisions are refused."""

import csv
import subprocess
import sys

import pytest
import torch

from dorefabric.sw.cli import main
from dorefabric.sw.model_file import load_model, read_model_file
from dorefabric.sw.parallel import Processes, processes
from dorefabric.sw.train import TrainConfig, TrainError, train

SCRIPT = """
import sys
import torch
from dorefabric.sw.parallel import first_process
from dorefabric.sw.train import TrainConfig, train

folder, epochs, resume = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "resume"
result = train(TrainConfig(
    dataset="digits", model="digits", gradient_bits=6, epochs=epochs, batch_size=64, learning_rate=1e-3,
    output=folder + "/model.pt", log=folder + "/log.csv", resume=resume))
torch.save(result.model.state_dict(), f"{folder}/process-{0 if first_process() else 1}.pt")
"""


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A training of one epoch, taken up again for a second."""
    folder = tmp_path_factory.mktemp("parallel")
    (folder / "script.py").write_text(SCRIPT)
    outputs = []
    for epochs, resume in ((1, "start"), (2, "resume")):
        result = torchrun(str(folder / "script.py"), str(folder), str(epochs), resume)
        assert result.returncode == 0, result.stderr
        outputs.append(result.stdout)
    (folder / "output").write_text("".join(outputs))
    return folder


def test_weights_and_statistics_are_equal(folder):
    first, second = (torch.load(folder / f"process-{rank}.pt", weights_only=True) for rank in range(2))
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    saved = load_model(folder / "model.pt").state_dict()
    assert all(torch.equal(first[key], saved[key]) for key in first)


def test_one_log_and_one_checkpoint(folder):
    history = read_model_file(folder / "model.pt")["history"]
    rows = list(csv.DictReader((folder / "log.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["loss"]) == history[1]["loss"] < history[0]["loss"]
    assert history[1]["test_accuracy"] > 0.4 and 0 < history[1]["train_accuracy"] < 1
    shown = [line for line in (folder / "output").read_text().splitlines() if line.startswith("epoch")]
    assert [line.split()[1] for line in shown] == ["1/1", "2/2"]
    assert {path.name for path in folder.iterdir()} == {
        "script.py", "output", "model.pt", "log.csv", "process-0.pt", "process-1.pt"}


def test_another_number_of_processes_cannot_resume(folder):
    config = TrainConfig(dataset="digits", model="digits", gradient_bits=6, epochs=3, batch_size=64, learning_rate=1e-3,
                         output=folder / "model.pt", resume=True, progress=False)  # fmt: skip
    with pytest.raises(TrainError, match=r"was trained with processes 2, not 1$"):
        train(config)


def test_one_message_of_all_processes(tmp_path, monkeypatch, capsys):
    command = ["train", "--model", "digits", "--precision", "float16", "-o", str(tmp_path / "model.pt")]
    assert main(command) == 2
    assert "'float16' needs a GPU" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2 and capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_half_precision_needs_a_gpu():
    with pytest.raises(TrainError, match=r"^precision 'float16' needs a GPU \(device 'cuda'\); on a CPU take "):
        train(TrainConfig(dataset="digits", model="digits", precision="float16", progress=False))


def test_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainError, match=r"^device 'cuda': torch finds no GPU"), processes("cuda", 32):
        pass
    with processes("auto", 32) as group:
        assert group == Processes(0, 1, torch.device("cpu"))


def test_every_process_takes_its_own_random_state():
    with torch.random.fork_rng(devices=[]):
        one = Processes(0, 1, torch.device("cpu"))
        states = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            states += one.random_states()
        Processes(1, 2, torch.device("cpu")).restore(states)
        drawn = torch.rand(3)
        torch.manual_seed(2)
        assert torch.equal(drawn, torch.rand(3))


def test_more_processes_than_gpus_stop_all_of_them(monkeypatch):
    """The first process would otherwise wait for one that has stopped."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    for rank in "02":
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(TrainError, match=r"^3 processes on a machine with 2 GPUs; start at most 2, or train"), \
                processes("cuda", 33):
            pass


def test_processes_that_no_one_started_together(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TrainError, match=r"^2 processes cannot meet: .*; start them with torchrun$"), \
            processes("cpu", 32):
        pass


@pytest.mark.parametrize("size, world", [(33, "2"), (4, "4")])
def test_batches_are_shared_evenly(monkeypatch, size, world):
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(TrainError, match=rf"^a batch of {size} images cannot be shared by {world} processes"), \
            processes("cpu", size):
        pass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precisions_on_a_gpu(precision, tmp_path):
    config = TrainConfig(dataset="digits", model="digits", epochs=2, device="cuda", precision=precision,
                         output=tmp_path / "model.pt", progress=False)  # fmt: skip
    assert train(config).test_accuracy > 0.6
    assert all(value.dtype != torch.float16 for value in load_model(config.output).state_dict().values())
