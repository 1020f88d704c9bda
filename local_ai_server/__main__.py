"""`python -m local_ai_server`."""

import sys

from local_ai_server.main import main

sys.exit(main())
