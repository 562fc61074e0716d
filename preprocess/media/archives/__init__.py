"""Media in archives: one file that holds many.

| stage | module | in -> out |
| --- | --- | --- |
| group | `parts.py` | names on disk -> an archive of one file, or of numbered parts, read as one |
| list | `tar.py`, `zip.py` | its headers -> `Listing`: where each member's bytes begin, how many, how packed |
| unpack | `unpack.py` | a compressed tar -> the plain one, in the cache folder, and its listing |
| index | `index.py` | a listing -> an Arrow file, sorted by the hashes of names; a name -> its member |
| fold | `folded.py` | a name in another case, or with accents composed otherwise -> that of a member |
| merge | `merged.py` | the indexes of archives that are searched together -> which of them may hold a name |
| prepare | `prepare.py` | the archives of a run -> an index of each, made once, by one of the jobs of an array |
| locate, open | `members.py` | the kind of source: a path in an annotation -> the member -> its bytes |

What an archive says is not believed: an archive that is wrong as a whole is an error that names it (`ArchiveError`), a
member that is wrong a reject of the samples that name it. Nothing is ever written under a member's name.
"""
