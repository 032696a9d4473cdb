#!/usr/bin/env node
// Here before anything is built, so that npm finds it when it installs.
import '../dist/cli/main.js';
