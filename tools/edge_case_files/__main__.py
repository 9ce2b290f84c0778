"""The command: one argument, the archive to write."""

import sys

from edge_case_files.files import write_archive

write_archive(sys.argv[1])
