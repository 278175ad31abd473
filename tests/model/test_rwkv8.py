"""DeepEmbed and Emb(ROSA(x)): nothing at first, then what they say; in parts as in whole."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rwkv_music.errors import InputError
from rwkv_music.model import (
    RWKV7,
    Decoder,
    ModelConfig,
    ModelState,
    initialize,
    load_checkpoint,
    save_checkpoint,
    save_pth,
)
from rwkv_music.model.rosa import followers
from rwkv_music.training.optimizer import parameter_groups

SETTINGS = {"ticks_per_quarter": 96, "velocities": 32, "slots": 32}
SWITCHES = ("deep_embedding", "rosa")
IDS = torch.randint(5, (2, 40), generator=torch.Generator().manual_seed(3))


def config(**switches: bool) -> ModelConfig:
    return ModelConfig(vocab_size=5, num_layers=2, width=64, **switches)


def perturbed(**switches: bool) -> RWKV7:
    """No parameter is zero or one."""
    model = RWKV7(config(**switches))
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=generator), alpha=0.1)
    return model.eval()


BOTH = perturbed(deep_embedding=True, rosa=True)


def followers_by_hand(ids: list[int]) -> list[int]:
    """For each place, all earlier ones are compared backwards; of equal matches the last wins."""
    found = []
    for place in range(len(ids)):
        longest, follower = 0, -1
        for end in range(place):
            length = 0
            while length <= end and ids[end - length] == ids[place - length]:
                length += 1
            if length and length >= longest:
                longest, follower = length, ids[end + 1]
        found.append(follower)
    return found


def test_the_follower_is_that_of_the_longest_match_and_of_the_latest_such() -> None:
    #      1  2  3  9  2  4  1  2
    ids = [1, 2, 3, 9, 2, 4, 1, 2]
    # The last 2 has been there twice: after 1 (then came 3) and after 9 (then 4). "1 2" is longer.
    # The last 1 was followed by 2; the second 2 by what followed the first one.
    expected = [-1, -1, -1, -1, 3, -1, 2, 3]
    assert followers(torch.tensor([ids]))[0].tolist() == [expected]
    assert followers(torch.tensor([[6, 7, 6, 8, 6]]))[0].tolist() == [[-1, -1, 7, -1, 8]]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.data())
def test_followers_equal_those_found_by_hand_in_whole_and_in_parts(
    ids: list[int], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(ids)))
    whole, _ = followers(torch.tensor([ids]))
    assert whole.tolist() == [followers_by_hand(ids)]
    first, past = followers(torch.tensor([ids[:cut]], dtype=torch.int64))
    second, _ = followers(torch.tensor([ids[cut:]], dtype=torch.int64), past)
    assert torch.equal(torch.cat([first, second], dim=1), whole)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=30), st.data())
def test_a_piece_is_matched_with_nothing_before_it(ids: list[int], data: st.DataObject) -> None:
    begin = data.draw(st.integers(1, len(ids) - 1))
    resets = torch.zeros(2, len(ids), dtype=torch.bool)
    resets[1, begin] = True
    found, _ = followers(torch.tensor([ids, ids]), None, resets)
    assert found[0].tolist() == followers_by_hand(ids)
    assert found[1].tolist() == followers_by_hand(ids[:begin]) + followers_by_hand(ids[begin:])


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_fresh_model_is_the_plain_one(switch: str) -> None:
    plain, changed = RWKV7(config()), RWKV7(config(**{switch: True}))
    for model in (plain, changed):
        initialize(model, seed=4)
        for layer in range(2):  # zero at first, which would hide all that multiplies them
            torch.nn.init.ones_(model.get_parameter(f"blocks.{layer}.ffn.value.weight"))
    assert torch.equal(changed(IDS)[0], plain(IDS)[0])


@pytest.mark.parametrize(("switch", "name"), [
    ("deep_embedding", "blocks.1.ffn.enn.weight"), ("rosa", "emb_rosa.weight"),
])  # fmt: skip
def test_the_tables_learn_and_change_the_logits(switch: str, name: str) -> None:
    model = perturbed(**{switch: True})
    before = model(IDS)[0]
    before.square().mean().backward()
    table = model.get_parameter(name)
    assert table.grad is not None
    assert (table.grad.abs().amax(1) > 0).all()
    with torch.no_grad():
        table.mul_(-1)
    assert not torch.allclose(model(IDS)[0], before, atol=1e-3)


def test_a_token_without_a_match_gets_nothing_of_the_table() -> None:
    model = perturbed(rosa=True)
    ids = torch.tensor([[0, 1, 2, 3]])
    before, _ = model(ids)
    with torch.no_grad():
        model.emb_rosa.weight.mul_(-1)
    assert torch.equal(model(ids)[0], before)


def test_steps_and_parts_equal_the_whole() -> None:
    with torch.no_grad():
        whole, after = BOTH(IDS)
        state = ModelState.zeros(BOTH.config, 2)
        _, state = BOTH(IDS[:, :17], state)
        state = state.select([1, 0]).select([1, 0]).to("cpu").detach()
        for place in range(17, 40):
            logits, state = BOTH.step(IDS[:, place], state)
            torch.testing.assert_close(logits, whole[:, place], rtol=1e-4, atol=1e-5)
    assert state.past is not None
    assert after.past is not None
    assert (state.past.matched == after.past.matched).all()


def test_the_decoder_goes_on_from_where_a_branch_was_made() -> None:
    with torch.no_grad():
        whole, _ = BOTH(IDS)
    decoder = Decoder(BOTH)
    assert decoder.backend == "torch"
    state = decoder.new_state(1)
    decoder.prefill(IDS[:1, :20], state)
    other = state.select([0])
    decoder.step(torch.tensor([3]), other)
    kept = state.copy()
    for place in range(20, 40):
        logits = decoder.step(IDS[:1, place], kept)
        torch.testing.assert_close(logits, whole[:1, place], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("switch", SWITCHES)
def test_the_native_decoder_names_the_one_that_can(switch: str) -> None:
    with pytest.raises(InputError, match=rf"has {switch}, which RWKV-7 has not; backend='torch'"):
        Decoder(perturbed(**{switch: True}), backend="native")


def test_a_checkpoint_keeps_the_switches(tmp_path: Path) -> None:
    path = save_checkpoint(BOTH, tmp_path / "both.safetensors", tokenizer_settings=SETTINGS)
    back = load_checkpoint(path)
    assert back.config == BOTH.config
    with torch.no_grad():
        assert torch.equal(back(IDS)[0], BOTH(IDS)[0])


def test_an_official_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="deep_embedding and rosa, which RWKV-7 has not; use save"):
        save_pth(BOTH, tmp_path / "both.pth")
    assert not list(tmp_path.iterdir())


def test_factors_around_one_do_not_decay_and_embeddings_do() -> None:
    decayed, plain, _ = parameter_groups(BOTH, weight_decay=0.1)
    for layer in range(2):
        factors = BOTH.get_parameter(f"blocks.{layer}.ffn.enn.weight")
        assert any(each is factors for each in plain["params"])
    assert any(each is BOTH.emb_rosa.weight for each in decayed["params"])
