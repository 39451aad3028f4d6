"""ASK: the faces that users touch.

In: what people write (texts, arrays, frames, dicts, dates). Out: one operation a verb, and answers as `Hits`. `aio` is written by hand,
`sync` is made from it by `tools/generate_sync.py`. `intake`, `vectors`, `payloads`, `times` and `questions` convert what comes in, `hits`
and `frames` what goes out; `transfer` and `formats` move whole collections from and to files. Imported by `connect`, `cli` and
`integrations`; imports `wire`, `ports` and `model`.
"""
