"""Run the command `gateway node`; its first line is empty, because only its log says where it listens."""

import sys

from gateway.__main__ import main

if __name__ == "__main__":
    print(flush=True)
    sys.argv[1:] = ["node"]
    sys.exit(main())
