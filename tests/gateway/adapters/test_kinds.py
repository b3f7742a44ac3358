"""No adapter is served and different: each kind equals PEFT or is refused in words, and so is whatever chance makes of one."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graduand.gateway.adapters import adapter, fitting, servers
from graduand.gateway.adapters.convert import convert
from graduand.gateway.engine import adapters as loading
from graduand.gateway.engine.model import RaggedModel
from graduand.gateway.errors import AdapterError, ConfigError
from tests.gateway.adapters.kinds import Kind, embedded, make, page

PAGE = Path(__file__).parents[3] / "docs" / "adapters.md"
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> RaggedModel:
    return RaggedModel(str(tiny_base))


@pytest.fixture(scope="module")
def plain(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "files"
    make(Kind({}), tiny_base, folder)
    return folder


@pytest.mark.filterwarnings("ignore")
def test_the_page_shows_what_becomes_of_each_kind(tiny_base: Path, tmp_path: Path) -> None:
    made = page(tiny_base, tmp_path)
    assert "DIFFERENT" not in made
    assert made == PAGE.read_text(), "python -m tests.gateway.adapters.kinds > docs/adapters.md"


MODULES = ("q_proj", "v_proj", "up_proj", "down_proj")
PATTERNS = st.sampled_from([*MODULES, "layers.1.self_attn.q_proj", r".*_proj", r"model\.layers\.0\..*"])
VALID = st.fixed_dictionaries(
    {"r": st.integers(1, 12), "lora_alpha": st.integers(1, 40)},
    optional={
        "target_modules": st.lists(st.sampled_from(MODULES), min_size=1, max_size=3, unique=True)
        | st.sampled_from(["all-linear", r".*(q|up)_proj", r".*layers\.1\..*_proj"]),
        "exclude_modules": st.sampled_from([["up_proj"], r".*layers\.0\..*", ["model.layers.0.self_attn.q_proj"]]),
        "use_rslora": st.booleans(),
        "rank_pattern": st.dictionaries(PATTERNS, st.integers(1, 12), max_size=3),
        "alpha_pattern": st.dictionaries(PATTERNS, st.integers(1, 40), max_size=3),
        "fan_in_fan_out": st.just(False),
        "lora_dropout": st.sampled_from([0.0, 0.3]),
        "init_lora_weights": st.sampled_from([True, False, "gaussian", "pissa", "olora", "mica"]),
        "bias": st.sampled_from(["none", "all", "lora_only"]),
        "use_dora": st.booleans(),
        "modules_to_save": st.sampled_from([None, ["lm_head"]]),
        "layer_replication": st.sampled_from([None, [[0, 2], [0, 1]]]),
    },
)


@pytest.mark.filterwarnings("ignore")
@FEW
@given(config=VALID)
def test_any_configuration_of_peft_equals_peft_or_is_refused(
    config: dict[str, Any], tiny_base: Path, model: RaggedModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any") / "files"
    try:
        known = make(Kind(config), tiny_base, folder)
    except (ValueError, RuntimeError, KeyError):
        return  # PEFT makes no such adapter
    said = embedded(folder, model, known)
    assert "DIFFERENT" not in said
    assert "\n" not in said


@MANY
@given(data=st.data())
def test_damaged_files_are_refused_in_one_line(data: st.DataObject, plain: Path, model: RaggedModel) -> None:
    folder = plain.with_name("damaged")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(plain, folder)
    file = folder / data.draw(st.sampled_from([adapter.CONFIG_FILE, adapter.WEIGHTS_FILE]))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, min(len(content) - 1, 4000)))
    match data.draw(st.sampled_from(["cut", "flip", "put", "empty", "nest"])):
        case "cut":
            del content[place:]
        case "flip":
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        case "put":
            content[place : place + 1] = data.draw(
                st.sampled_from([b"-", b"9" * 30, b"null", b'"', b"[", b"\xff", b"\n"])
            )
        case "empty":
            content.clear()
        case "nest":
            content[:] = b"[" * 100_000
    file.write_bytes(content)
    try:
        loading.load("damaged", folder, model.layout)
        servers.problems(adapter.read(folder), servers.Server.LORAX)
    except AdapterError as error:
        assert "\n" not in str(error)
        str(error).encode()


SETTINGS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@MANY
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "r",
                "lora_alpha",
                "target_modules",
                "exclude_modules",
                "layers_to_transform",
                "layers_pattern",
                "rank_pattern",
                "alpha_pattern",
                "base_model_name_or_path",
                "peft_type",
            ]
        ),
        SETTINGS,
        max_size=3,
    )
)
def test_a_configuration_of_rubbish_is_refused_in_one_line(
    plain: Path, model: RaggedModel, changed: dict[str, Any]
) -> None:
    folder = plain.with_name("rubbish")
    shutil.copytree(plain, folder, dirs_exist_ok=True)
    config = json.loads((plain / adapter.CONFIG_FILE).read_text())
    (folder / adapter.CONFIG_FILE).write_text(json.dumps(config | changed))
    try:
        loading.load("rubbish", folder, model.layout)
        for server in servers.Server:
            servers.problems(adapter.read(folder), server)
    except AdapterError as error:
        assert "\n" not in str(error)


def test_what_is_pickled_is_not_run(plain: Path, tiny_base: Path, tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    folder = Path(shutil.copytree(plain, tmp_path / "pickled"))
    (folder / adapter.WEIGHTS_FILE).unlink()
    torch.save({"x": Code()}, folder / adapter.PICKLED_FILE)
    with pytest.raises(AdapterError, match="could run code"):
        convert(folder, tmp_path / "out", str(tiny_base))
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def test_a_conversion_says_what_lacks(plain: Path, tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        convert(plain, tmp_path, str(tiny_base))
    with pytest.raises(ConfigError, match="name it with --base"):
        convert(plain, tmp_path / "out", "no-such-base")
    part = Path(shutil.copytree(plain, tmp_path / "part"))
    (part / adapter.WEIGHTS_FILE).rename(part / "adapter_model-00001-of-00002.safetensors")
    with pytest.raises(AdapterError, match="lacks parts"):
        convert(part, tmp_path / "out", str(tiny_base))


def test_a_matrix_of_another_rank_names_both(plain: Path, model: RaggedModel) -> None:
    files = adapter.read(plain)
    name = next(iter(files.shapes))
    files.shapes[name] = (7, 7)
    with pytest.raises(AdapterError, match=r"is \(7, 7\) in its file, where rank 8"):
        fitting.pairs(files, model.layout)
