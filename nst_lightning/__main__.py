"""`python -m nst_lightning` is `nst`."""

import sys

from nst_lightning.cli.main import main

sys.exit(main())
