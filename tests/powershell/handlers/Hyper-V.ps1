# Nothing beside the cmdlets: all of them ask the world, and -WhatIf changes nothing there.
