"""The names of all answers that the model `answers` gives."""

from __future__ import annotations

from tests.zoo.samples import Entry, Probe, Table

NAMES = """
ndarray rank 0
ndarray rank 1
ndarray rank 2
ndarray rank 3
ndarray of bool
ndarray of strings
ndarray of objects
ndarray of bytes
ndarray of datetimes
ndarray of days
ndarray of timedeltas
ndarray of complex
ndarray empty
ndarray column-major
ndarray float16
ndarray big-endian
ndarray masked
frame
frame with index
frame without names
frame of datetimes
frame of zoned datetimes
frame with NaT
frame of timedeltas
frame with nulls
frame of nullable integers
frame of categories
frame of lists
frame of bytes
frame empty
series
series without name
index
list
tuple
list of numpy
list of arrays
dict
dict of arrays
dict of frames
dict with number keys
dict with numpy keys
dict with tuple keys
string
number
none
bytes
bytes longer than a line
bytearray
datetime
datetime with zone
timestamp
date
time
datetime of numpy
NaT
timedelta
decimal
decimal in a frame
set
NaN
NaN and infinities
NaN deep inside
NA
sparse matrix
sparse frame
pydantic
list of pydantic
dataclass
large integer
integer beyond doubles
lone surrogate
complex
object
generator
map
zip
dict keys
dict values
period
index of periods
frame of periods
fraction
uuid
path
enum
raises
raises of MLflow
""".strip().splitlines()

ENTRIES = (
    Entry(
        "answers",
        tuple(Probe(name, Table({"which": [name]}), forms=("dataframe_split",)) for name in NAMES),
    ),
)
