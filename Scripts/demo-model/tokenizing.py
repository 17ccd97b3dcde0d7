"""The two tokenizers, learnt from the captions, in the files that CLIP and T5 tokenizers of transformers read.

CLIP: byte pairs. T5: a SentencePiece unigram model in which every word of the
captions is one piece and every other word falls apart into letters.
"""
import json
import math
import os
import re
from collections import Counter

from training import write_json

TEXT_LENGTH = 32  # tokens of a prompt, padding included, for both
CLIP_END = "<|endoftext|>"
CLIP_SPECIAL = dict(bos_token="<|startoftext|>", eos_token=CLIP_END, pad_token=CLIP_END, unk_token=CLIP_END)
T5_SPECIAL = dict(eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
T5_PAD, T5_END, T5_UNKNOWN = 0, 1, 2


class ClipTokenizer:
    """Text to CLIP's ids, as transformers' CLIPTokenizer does it."""

    def __init__(self, folder):
        with open(os.path.join(folder, "vocab.json")) as file:
            self.vocabulary = json.load(file)
        with open(os.path.join(folder, "merges.txt")) as file:
            merges = [line.split() for line in file.read().split("\n")[1:] if line]
        self.rank = {tuple(pair): i for i, pair in enumerate(merges)}

    def __call__(self, text):
        begin, end = len(self.vocabulary) - 2, len(self.vocabulary) - 1
        ids = [self.vocabulary[part] for word in _clip_words(text) for part in self._parts(word)]
        ids = [begin, *ids[:TEXT_LENGTH - 2], end]
        return ids + [end] * (TEXT_LENGTH - len(ids))

    def _parts(self, word):
        parts, never = _letters(word), len(self.rank)
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            best = min(range(len(pairs)), key=lambda i: self.rank.get(pairs[i], never))
            if pairs[best] not in self.rank:
                break
            parts[best:best + 2] = ["".join(pairs[best])]
        return parts


class T5Tokenizer:
    """Text to T5's ids, from its tokenizer.json."""

    def __init__(self, folder):
        from tokenizers import Tokenizer
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))

    def __call__(self, text):
        ids = self.tokenizer.encode(text).ids
        if len(ids) > TEXT_LENGTH:
            ids = [*ids[:TEXT_LENGTH - 1], T5_END]
        return ids + [T5_PAD] * (TEXT_LENGTH - len(ids))


def make_tokenizers(captions, folder):
    """Writes FOLDER/tokenizer and FOLDER/tokenizer_2; returns the sizes of their vocabularies."""
    return (_make_clip(captions, os.path.join(folder, "tokenizer")),
            _make_t5(captions, os.path.join(folder, "tokenizer_2")))


# CLIP --------------------------------------------------------------------------

def _byte_symbols():
    """The printable stand-in of each byte, as GPT-2 and CLIP number them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def _clip_words(text):
    symbols, text = _byte_symbols(), re.sub(r"\s+", " ", text).strip().lower()
    words = re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+", text)
    return ["".join(symbols[b] for b in word.encode()) for word in words]


def _letters(word):
    return [*word[:-1], word[-1] + "</w>"]


def _make_clip(captions, folder, most_merges=2000):
    counts = Counter(word for caption in captions for word in _clip_words(caption))
    words = {word: _letters(word) for word in counts}
    symbols, merges = list(_byte_symbols().values()), []
    while len(merges) < most_merges:
        pairs = Counter()
        for word, parts in words.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = max(sorted(pairs), key=pairs.get)
        merges.append(best)
        for parts in words.values():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = ["".join(best)]
                i += 1
    pieces = [*symbols, *(s + "</w>" for s in symbols), *("".join(m) for m in merges)]
    pieces = [*dict.fromkeys(pieces), CLIP_SPECIAL["bos_token"], CLIP_END]
    os.makedirs(folder, exist_ok=True)
    write_json(os.path.join(folder, "vocab.json"), {piece: i for i, piece in enumerate(pieces)})
    with open(os.path.join(folder, "merges.txt"), "w") as file:
        file.write("#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in merges))
    write_json(os.path.join(folder, "special_tokens_map.json"), CLIP_SPECIAL)
    write_json(os.path.join(folder, "tokenizer_config.json"), dict(
        CLIP_SPECIAL, tokenizer_class="CLIPTokenizer", model_max_length=77, do_lower_case=True, add_prefix_space=False))
    return len(pieces)


# T5 ----------------------------------------------------------------------------

def _make_t5(captions, folder):
    counts = Counter(word for caption in captions for word in caption.split())
    total = sum(counts.values())
    words = sorted((w for w in counts if len(w) > 1), key=lambda w: (-counts[w], w))
    letters = [chr(c) for c in range(33, 127)]
    pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0}
    pieces |= {"▁" + w: round(math.log(counts[w] / total), 4) for w in words}
    for piece in ["▁", *("▁" + c for c in letters), *letters]:  # far less likely than any word
        pieces.setdefault(piece, -22.0 if len(piece) == 1 else -20.0)
    os.makedirs(folder, exist_ok=True)
    _write_sentencepiece(pieces, os.path.join(folder, "spiece.model"))
    _write_fast(pieces, os.path.join(folder, "tokenizer.json"))
    write_json(os.path.join(folder, "special_tokens_map.json"), T5_SPECIAL)
    write_json(os.path.join(folder, "tokenizer_config.json"), dict(
        T5_SPECIAL, tokenizer_class="T5Tokenizer", model_max_length=TEXT_LENGTH, extra_ids=0))
    return len(pieces)


def _write_sentencepiece(pieces, path):
    from sentencepiece import sentencepiece_model_pb2 as protocol
    model = protocol.ModelProto()
    kinds = {T5_PAD: model.SentencePiece.CONTROL, T5_END: model.SentencePiece.CONTROL,
             T5_UNKNOWN: model.SentencePiece.UNKNOWN}
    for i, (piece, score) in enumerate(pieces.items()):
        model.pieces.add(piece=piece, score=score, type=kinds.get(i, model.SentencePiece.NORMAL))
    spec = model.trainer_spec
    spec.model_type, spec.vocab_size, spec.bos_id = spec.UNIGRAM, len(pieces), -1
    spec.pad_id, spec.eos_id, spec.unk_id = T5_PAD, T5_END, T5_UNKNOWN
    spec.pad_piece, spec.eos_piece, spec.unk_piece = "<pad>", "</s>", "<unk>"
    normalizer = model.normalizer_spec
    normalizer.name, normalizer.add_dummy_prefix = "identity", True
    normalizer.remove_extra_whitespaces = normalizer.escape_whitespaces = True
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def _write_fast(pieces, path):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    tokenizer = Tokenizer(models.Unigram(list(pieces.items()), unk_id=T5_UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", T5_END)])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.save(path)
