"""`python -m rwkv_music` is the same as `rwkv-music`."""

import sys

from rwkv_music.cli import main

sys.exit(main())
