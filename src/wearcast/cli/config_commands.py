"""`wearcast config`: check, show and describe experiments."""

from __future__ import annotations

from typing import Annotated

import typer

from wearcast.cli.options import Json, Overrides

__all__ = ["config_app"]

config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check, show and describe experiments.")

Recipe = Annotated[str, typer.Argument(metavar="RECIPE_OR_FILE", help="Name of a recipe, or path of a YAML file.")]


@config_app.command()
def check(file: Recipe, overrides: Overrides = None) -> None:
    """Check an experiment without running it.

    \b
    Example:  wearcast config check my.yaml
              wearcast config check simulated-tft --set backbone.d_model=64
    """  # noqa: D301
    from wearcast.cli.output import say
    from wearcast.training.recipes import load_experiment

    experiment = load_experiment(file, overrides or ())
    say(f"good: {file} is the experiment {experiment.name!r}")


@config_app.command()
def show(file: Recipe, overrides: Overrides = None, as_json: Json = False) -> None:
    """Print an experiment with everything that it extends and every default.

    \b
    Example:  wearcast config show cmapss-fd001-tft --set seed=1 > my.yaml
    """  # noqa: D301
    from wearcast.cli.output import print_json
    from wearcast.config.writing import to_yaml
    from wearcast.training.recipes import load_experiment

    experiment = load_experiment(file, overrides or ())
    if as_json:
        print_json(experiment.model_dump(mode="json"))
    else:
        typer.echo(to_yaml(experiment), nl=False)


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of an experiment, for editors that complete and check YAML.

    \b
    Example:  wearcast config schema > experiment.schema.json
              and in a file's first line:  # yaml-language-server: $schema=experiment.schema.json
    """  # noqa: D301
    from wearcast.cli.output import print_json
    from wearcast.config.writing import json_schema
    from wearcast.training import Ensemble, Experiment

    print_json(json_schema(Experiment, Ensemble))


@config_app.command()
def recipes(as_json: Json = False) -> None:
    """List the recipes that come with Wearcast.

    \b
    Example:  wearcast config recipes
              wearcast train simulated-cnn-bilstm
    """  # noqa: D301
    from wearcast.cli.output import print_json, print_table
    from wearcast.training.recipes import recipe_summaries

    found = recipe_summaries()
    if as_json:
        print_json([{"name": name, "summary": summary} for name, summary in found])
    else:
        print_table(None, ["recipe", "what it is"], found)
