"""The thinker-and-writer loop of the published notebook, written by hand on `hogwild.shared_cache`."""

from __future__ import annotations

import torch

from hogwild import shared_cache
from hogwild.prompting import AsyncPrompts, StepDetector, StepRule, encode_inside


def think_and_write(
    model, tokenizer, prompts: AsyncPrompts, problem: str, rule: StepRule, forwards: int, end_tokens=()
) -> tuple[dict[str, list[int]], list[str]]:
    """Questions in the streams at ends of paragraphs; greedy. The tokens that both sampled, and the modes.

    As in the notebook, but that the token which ended a paragraph is written before the question (there it is
    lost), and that the thinker goes on while the writer is asked.
    """

    def encode(text: str) -> list[int]:
        return encode_inside(tokenizer, text.replace("{problem}", problem))

    names = ("writer_prompt", "writer_split", "writer", "thinker_prompt", "thinker_split", "thinker")
    block = {name: shared_cache.CacheBlock(config=model.config, name=name) for name in names}
    stubs = {name: shared_cache.CacheBlock(config=model.config) for name in ("thinker", "writer")}
    openings = {
        "thinker": [token for text in prompts.thoughts_opening for token in encode(text)],
        "writer": [token for text in prompts.answer_opening for token in encode(text)],
    }
    prefixes = {who: tokens[:-1] for who, tokens in openings.items()}

    def run(manager, rows: list[list[int]], workers=None) -> torch.Tensor:
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            inputs = manager.get_input_kwargs(ids, mask, active_worker_indices=workers)
            logits = model(**inputs, logits_to_keep=1).logits[:, -1].float()
        return logits.clone()

    def prefill(tokens: list[int], blocks) -> None:
        if tokens:
            run(shared_cache.SharedCacheManager([blocks]), [tokens])

    prefill(encode(prompts.writer_prompt), [block["writer_prompt"]])
    prefill(encode(prompts.thinker_prompt), [block["thinker_prompt"]])
    prefill(prefixes["thinker"], [block["writer_prompt"], stubs["thinker"]])
    prefill(prefixes["writer"], [block["thinker_prompt"], stubs["writer"]])
    before_writer = [block["writer_prompt"], stubs["thinker"], block["writer_split"]]
    before_thinker = [block["thinker_prompt"], stubs["writer"], block["thinker_split"]]
    prefill(encode(prompts.writer_split), before_writer)
    prefill(encode(prompts.thinker_split), before_thinker)
    prefill(prefixes["writer"], [*before_writer, block["writer"]])
    prefill(prefixes["thinker"], [*before_thinker, block["thinker"]])
    manager = shared_cache.SharedCacheManager(
        cache_structure=[
            [block["thinker_prompt"], block["writer"], block["thinker_split"], block["thinker"]],
            [block["writer_prompt"], block["thinker"], block["writer_split"], block["writer"]],
        ],
    )
    workers = ("thinker", "writer")
    questions = {"thinker": encode(prompts.thinker_question), "writer": encode(prompts.writer_question)}
    yes_no = [
        [encode(w)[0] for w in words if len(encode(w)) == 1]
        for words in (prompts.yes_words, prompts.no_words)
    ]
    forbidden = [
        encode(text)[0] for text in (*prompts.forbidden, prompts.end_think) if text and len(encode(text)) == 1
    ]

    queue = {who: tokens[-1:] for who, tokens in openings.items()}
    detectors = {who: StepDetector(rule) for who in workers}
    written: dict[str, list[int]] = {"thinker": [], "writer": []}
    mode, modes, asked = "thinker_only", ["thinker_only"], None
    for _ in range(forwards):
        rows: dict[str, list[int]] = {"thinker": queue["thinker"]}
        if mode == "thinker_and_writer":
            rows["writer"] = queue["writer"]
        elif len(queue["writer"]) > 1:  # the end of the last question
            rows["writer"] = queue["writer"][:-1]
        if asked is not None:
            rows[asked] = rows[asked] + questions[asked]
        active = [index for index, who in enumerate(workers) if who in rows]
        logits = run(manager, [rows[workers[index]] for index in active], active)
        answered, asked = asked, None
        for index, scores in zip(active, logits, strict=True):
            who = workers[index]
            if who == answered:
                yes, no = (scores[ids].logsumexp(0) for ids in yes_no)
                queue[who] = encode(prompts.yes if yes > no else prompts.no) + encode(prompts.answered)
                detectors[who].reset()
                following = "thinker_and_writer" if yes > no else "thinker_only"
                if following != mode:
                    modes.append(following)
                mode = following
            elif who == "writer" and (mode == "thinker_only" or len(modes) % 2):
                queue[who] = queue[who][-1:]
            else:
                scores[forbidden] = -torch.inf
                token = int(scores.argmax())
                assert token not in end_tokens, "the loop must not end before its time"
                written[who].append(token)
                queue[who] = [token]
                if detectors[who].push(tokenizer.decode([token])):
                    detectors[who].reset()
                    if who == ("thinker" if mode == "thinker_only" else "writer"):
                        asked = who
    return written, modes
