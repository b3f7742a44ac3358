"""The files for Docker, which cannot run here: they name files that are there, pinned images, and a port of this machine."""

from pathlib import Path

import yaml

MONITORING = Path(__file__).parents[2] / "monitoring"
COMPOSE = yaml.safe_load((MONITORING / "compose.yaml").read_text())


def test_images_are_pinned() -> None:
    for service in COMPOSE["services"].values():
        name, _, version = service["image"].rpartition(":")
        assert name
        assert version[-1].isdigit()
        assert "latest" not in version


def test_volumes_exist() -> None:
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (MONITORING / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_grafana_finds_the_dashboards_and_their_source() -> None:
    grafana = COMPOSE["services"]["grafana"]
    provisioning = MONITORING / "grafana" / "provisioning"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "graduand.yaml").read_text())["providers"]
    path = provider["options"]["path"]
    assert f"./grafana/dashboards:{path}:ro" in grafana["volumes"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (str(home.parent), (MONITORING / "grafana" / "dashboards" / home.name).exists()) == (path, True)
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    scrape = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text())
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    assert source["url"].removeprefix("http://") in " ".join(COMPOSE["services"]["prometheus"]["command"])
