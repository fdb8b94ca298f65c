import pytest


class OneGraph:
    """A plugin that hands its graph to another one as the only session."""

    plugin_args = None

    def __init__(self, plugin):
        self.plugin, self.left = plugin, []

    def run(self, graph, config, updatehash=False):
        self.config, self.left = config, [graph]
        self.plugin.run_sessions(self)

    def take(self):
        return self.left.pop() if self.left else None

    def ended(self, graph):
        pass


@pytest.fixture
def one_graph():
    """Run a whole workflow by a plugin that takes sessions: ``workflow.run(plugin=one_graph(plugin))``."""
    return OneGraph
