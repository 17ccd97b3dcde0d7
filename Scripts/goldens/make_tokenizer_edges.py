#!/usr/bin/env python3
"""Writes Tests/Fixtures/tokenizers/edges.json: awkward prompts and their ids for the flux-dev model of the goldens.

Needs transformers 4.57.6, sentencepiece and protobuf, without ftfy; Python 3.11 (its Unicode 14 decides which characters
CLIP drops as unassigned, so prompts with newer characters are left out). Run it in the root of the checkout.
"""
import json
import random
import unicodedata

from transformers import CLIPTokenizer, T5TokenizerFast

MODEL = "Tests/Fixtures/flux-dev/model"
HAND = [
    "", " ", "    ", "\t\n", " a", "a ", "\r\n\r\nx\r\n", "'s 't 'RE 'Ve I'LL we'd o'clock 'm' ''s", "!'s ?'t a'sb",
    "<|endoftext|> in the middle", "x<|startoftext|>y <|STARTOFTEXT|> <|EndOfText|>",
    "a</s>b <pad> <unk> <extra_id_0>c<extra_id_99> <extra_id_100>", "<|endoftext", "</s", "</s></s>",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ ΑΣ' ΑΣ.Β Σ\u0301Σ ΑΣ\u00ad ΑΣ\u0301x", "İstanbul ISTANBUL ıI", "'\u017f \u017ftraße ẞ \u212a \u212b",
    "e\u0301 é A\u030a\u0323 \u1e9b\u0323 ab\u0300\u0301\u0302\u0303c q\u0308", "\u2028line\u2029para\u0085nel\u000bvt\u000cff",
    "zero\u200bwidth\u200djoin\u00adsoft\ufefffeff \ufffdrepl", "漢字kanji漢 字 한국어 ｶﾞ ﾊﾟ", "\u1100\u1161\u11a8 각",
    "👩\u200d👩\u200d👧\u200d👦 👍🏽 🇩🇪🇫🇷 ☃\ufe0f", "½ ² ① Ⅳ ㎏ ﷺ ﬃ ﬀ ﬆ", "  two  spaces ▁mark▁▁double  ▁ ", "▁",
    "\u3000ideographic\u3000space\u3000", "\u00a0nbsp\u202fnn\u2009thin", "0123456789 ０１２３ ١٢٣ ४५", "a_b __init__ --x== <>",
    "ａ\u0301ｂ\u0301 Ａ\u0308", "\ue000private\U000e0001tag", "क्षि त्रि ज्ञ నమస్తే สวัสดี", "ⒶⓑⒸ 🅰 ℌ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "a\u0000b",
    "Å Å Ω Ω", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f flag", "a" * 300, "aaaa bbbb " * 40,
]
POOL = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789      ''''.,!?-_<>|/\"\t\n") + list(
    "éèüöñçßœæøłžščřΣσςΑΒΓабвгдАБВЯ漢字語の東京한국어ｆｕｌ①½²ﬁ—–…“”’№°€£\u00a0\u200b\u00ad\u0301\u0308\u3000▁🌧👍🏽\u200d🙂ñÅİıſ①ⅣＡ＃ｱﾞ")
RANGES = [(0x20, 0x24F), (0x250, 0x1FFF), (0x2000, 0x33FF), (0xA000, 0xD7FF), (0xF900, 0xFFFD), (0x1F300, 0x1FAFF)]


def prompts():
    draw = random.Random(7)
    words = json.load(open("Tests/Fixtures/flux-dev/prompts.json"))[10].split()
    made = []
    for index in range(400):
        if index % 3 == 0:
            text = "".join(draw.choice(POOL) for _ in range(draw.randint(0, 40)))
        elif index % 3 == 1:
            mixed = lambda: "".join(draw.choice(POOL) for _ in range(4)) if draw.random() < 0.3 else draw.choice(words)
            text = " ".join(mixed() for _ in range(draw.randint(1, 15)))
        else:
            text = "".join(chr(draw.randint(*draw.choice(RANGES))) for _ in range(draw.randint(1, 15)))
        if all(unicodedata.category(character) != "Cn" for character in text):
            made.append(text)
    return HAND + made


clip = CLIPTokenizer.from_pretrained(MODEL + "/tokenizer")
t5 = T5TokenizerFast.from_pretrained(MODEL + "/tokenizer_2")
assert clip.fix_text is None, "ftfy must not be installed"
cases = [{"prompt": text, "clip": clip(text).input_ids, "t5": t5(text).input_ids} for text in prompts()]
with open("Tests/Fixtures/tokenizers/edges.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
